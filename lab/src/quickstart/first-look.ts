/** Analysis of manifests alone, before there is a mesh: the exposed route, and the effect of a grant. */
import { fileURLToPath } from 'node:url';
import { run } from '../run.ts';
import { expectThat } from './scene.ts';
import type { Story } from './story.ts';

const ROOT = fileURLToPath(new URL('../../..', import.meta.url));
const CLI = 'packages/cli/src/main.ts';
const MESH = 'lab/samples/mesh';

export async function firstLook(story: Story): Promise<void> {
  story.chapter('A first look', 'no mesh needed: a linter and a plan, on the manifests in lab/samples');
  const lint = await said(story, ['policy', 'lint', MESH]);
  expectThat(lint.code === 1 && lint.stdout.includes('MP101'), `the linter found no open test route: ${lint.stdout}`);
  story.done('found before it is applied: the VirtualService that exposes a test route to the internet');
  const plan = await said(story, [
    ...['policy', 'plan', '--access', 'lab/samples/access.yaml', '--public-url', 'https://broker.example.com', MESH],
  ]);
  expectThat(plan.code === 0, `the plan ended with ${plan.code}: ${plan.stderr}`);
  story.done(
    'a grant is a few lines; the plan shows what it compiles to, who gains which calls, and that no one loses any',
  );
}

async function said(story: Story, argv: readonly string[]) {
  story.command(`meshpass ${argv.join(' ')}`);
  const result = await run([process.execPath, CLI, ...argv], { cwd: ROOT, env: { ...process.env, NO_COLOR: '1' } });
  story.lines(result.stdout.trimEnd().split('\n'));
  return result;
}
