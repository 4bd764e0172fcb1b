/** The one comment of a pull request, against a server that answers as GitHub's REST API does for comments. */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { parse } from 'yaml';
import { ActionRunner, ROOT, type Trigger } from './action-runner.ts';

let runner: ActionRunner;
beforeEach(async () => {
  runner = await ActionRunner.start();
});
afterEach(() => runner.stop());

/** Runs the action with a broker that plans this. */
async function comment(plan: string, error = '', trigger: Trigger = {}) {
  const [planFile, errorFile] = ['plan.md', 'error.txt'].map((name) => join(runner.folder, name)) as [string, string];
  writeFileSync(planFile, plan);
  writeFileSync(errorFile, error);
  const command = join(runner.folder, 'broker.sh');
  writeFileSync(command, `cat '${planFile}'; cat '${errorFile}' >&2; exit ${error === '' ? 0 : 1}\n`);
  const headSha = '0123456789abcdef';
  return await runner.run({ broker: 'https://broker.invalid', meshpass: `sh ${command}` }, { headSha, ...trigger });
}

it('makes one comment, and updates that one from then on, even behind a hundred others', async () => {
  const { comments } = runner;
  for (let id = 1; id <= 150; id++) comments.push({ id, body: 'looks good', user: { login: 'bob', type: 'User' } });
  await comment('**Every grant works.**');
  await comment('**This change is refused.**');
  expect(comments).toHaveLength(151);
  expect(comments.at(-1)!.body).toContain('**This change is refused.**');
  expect(comments.at(-1)!.body).not.toContain('Every grant works');
  expect(comments.at(-1)!.body).toContain('Commit 0123456789ab');
  expect([...runner.tokens]).toEqual(['Bearer ghs_job']);
});

it('does not change a similar comment of another author', async () => {
  const forged = '<!-- meshpass-policy-plan -->\nEverything is fine';
  runner.comments.push({ id: 1, body: forged, user: { login: 'mallory', type: 'User' } });
  await comment('**This change is refused.**');
  expect(runner.comments.map(({ body }) => body === forged)).toEqual([true, false]);
});

it('explains a missing plan, in a block that the text cannot leave', async () => {
  const error = 'meshpass: access.yaml:3:1 ```\n@everybody [access_file_invalid]';
  const { failed, steps } = await comment('', error);
  expect([failed, steps]).toEqual(['Plan', ['Set up', 'Plan', 'Comment']]);
  expect(runner.comments[0]!.body).toContain(`**Not planned.**\n\n\`\`\`\`\n${error}\n\`\`\`\``);
});

it('cuts a long text between lines, and closes the block and the details that are open there', async () => {
  const many = Array.from({ length: 3000 }, (_, at) => `- \`object ${at} of the mesh\``);
  const end = /\n- `object \d+ of the mesh`\n<\/details>\n\n\n… truncated; see the job log for the rest\.\n\n<sub>/;
  await comment(['<details><summary>3000 objects</summary>', '', ...many, '', '</details>'].join('\n'));
  expect(runner.comments[0]!.body.length).toBeLessThan(65_536);
  expect(runner.comments[0]!.body).toMatch(end);
  const block = ['````text', ...many.map((line) => `${line}\n\`\`\``), '````'].join('\n');
  const { output } = await comment(block);
  expect(runner.comments[0]!.body.length).toBeLessThan(65_536);
  expect(runner.comments[0]!.body).toMatch(/\n````\n\n\n… truncated; see the job log for the rest\.\n\n<sub>/);
  expect(output).toContain(block);
});

it('writes into the job summary if the token may not comment, and fails for another reason', async () => {
  runner.refusal = 403;
  const { failed, summary, output } = await comment('**Every grant works.**');
  expect(failed).toBeUndefined();
  expect(summary).toContain('**Every grant works.**');
  expect(output).toContain('::notice title=Meshpass::The comment is in the job summary');
  runner.refusal = 500;
  expect((await comment('**Every grant works.**')).failed).toBe('Comment');
});

it('plans nothing for a fork that gets no OIDC token, which the comment says', async () => {
  runner.refusal = 403;
  const { failed, steps, summary } = await comment('planned', '', { headRepository: 'mallory/platform' });
  expect([failed, steps]).toEqual([undefined, ['Set up', 'Plan', 'Comment']]);
  expect(summary).toContain('GitHub gives pull requests from forks no OIDC token');
  expect(summary).not.toContain('planned\n');
});

it('passes inputs to the shell as variables, never as text of the script', () => {
  const { runs } = parse(readFileSync(join(ROOT, 'deploy/github-action/action.yml'), 'utf8')) as {
    runs: { using: string; steps: { name: string; if?: string; run: string; env: Record<string, string> }[] };
  };
  expect(runs.using).toBe('composite');
  for (const { run } of runs.steps) expect(run).not.toContain('${{');
  expect(runs.steps.filter(({ env }) => 'GITHUB_TOKEN' in env).map(({ name }) => name)).toEqual([
    ...['Upload findings', 'Compare', 'Comment'],
  ]);
  expect(runs.steps.find(({ name }) => name === 'Apply')!.if).toBe(
    "inputs.broker != '' && (github.event_name == 'push' || github.event_name == 'workflow_dispatch')",
  );
});
