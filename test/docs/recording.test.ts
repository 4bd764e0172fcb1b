/** The recorded quickstart shows what the commands print today, as far as they need no mesh. */
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const RECORDED = readFileSync(new URL('../../docs/recordings/quickstart.txt', import.meta.url), 'utf8').split('\n');

/** Lines that were recorded after a command, without their indentation. */
function recorded(command: string): string {
  const from = RECORDED.indexOf(`  $ meshpass ${command}`) + 1;
  const length = RECORDED.slice(from).findIndex((line) => !line.startsWith('    '));
  return RECORDED.slice(from, from + length)
    .map((line) => line.slice(4))
    .join('\n');
}

/** Replaces the digest of a plan, which covers details that it does not print. */
const withoutDigest = (text: string) => text.replace(/^Plan [0-9a-f]{64}$/m, 'Plan ...');

test.each([
  'policy lint lab/samples/mesh',
  'policy plan --access lab/samples/access.yaml --public-url https://broker.example.com lab/samples/mesh',
])('meshpass %s prints what was recorded', (command) => {
  const { stdout } = spawnSync(process.execPath, ['packages/cli/src/main.ts', ...command.split(' ')], {
    cwd: ROOT,
    encoding: 'utf8',
    env: { ...process.env, NO_COLOR: '1' },
  });
  expect(withoutDigest(stdout.trimEnd())).toBe(withoutDigest(recorded(command)));
});
