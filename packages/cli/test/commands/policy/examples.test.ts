/** Every example of a policy command, in docs and help, is run as it is written, against sample files. */
import { execFile } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { longFlag } from '../../../src/command/flag.ts';
import { allCommands } from '../../command/help-of.ts';
import { type FakeServer, startFakeBroker, startFakeCluster } from './fake-cluster.ts';

const ROOT = fileURLToPath(new URL('../../../../../', import.meta.url));
const SAMPLES = fileURLToPath(new URL('./examples/', import.meta.url));
const BROKER = 'https://broker.example.com';
const PAGES = ['policy.md', 'access/ways-to-change-access.md', 'evaluator.md', 'lint.md', 'policy/exposure.md'];

interface Example {
  readonly line: string;
  /** Output according to the page. */
  readonly prints?: string;
}

/** Lines of code blocks that call us; in a block that begins with `$ `, the other lines are output. */
function examplesIn(page: string): readonly Example[] {
  const lines = readFileSync(join(ROOT, 'docs', page), 'utf8').split('\n');
  let fenced: string | undefined;
  return lines.flatMap((line, index): Example[] => {
    if (line.startsWith('```')) fenced = fenced === undefined ? line.slice(3) : undefined;
    const isCode = fenced === undefined ? line.startsWith('    ') : fenced === '' || fenced === 'sh';
    if (!isCode || !/(?:^| )meshpass (?:policy|access) /.test(line)) return [];
    const text = line.trim().replace(/^\$ /, '');
    if (!line.startsWith('$ ')) return [{ line: text }];
    const end = lines.findIndex((one, at) => at > index && (one.startsWith('```') || one.startsWith('$ ')));
    return [
      {
        line: text,
        prints: lines
          .slice(index + 1, end)
          .join('\n')
          .trimEnd(),
      },
    ];
  });
}

const POLICY = (await allCommands()).filter(({ words }) => words[0] === 'policy');
const HELP = POLICY.flatMap(({ command }) => command.examples.map((line): Example => ({ line })));

let home: string;
let broker: FakeServer;
let cluster: FakeServer;

beforeAll(async () => {
  home = mkdtempSync(join(tmpdir(), 'meshpass-examples-'));
  cpSync(SAMPLES, home, { recursive: true });
  cpSync(join(ROOT, 'lab/samples'), join(home, 'lab/samples'), { recursive: true });
  const bin = join(home, 'bin');
  mkdirSync(bin);
  const main = join(ROOT, 'packages/cli/src/main.ts');
  writeFileSync(join(bin, 'meshpass'), `#!/bin/sh\nexec "${process.execPath}" "${main}" "$@"\n`, { mode: 0o755 });
  writeFileSync(join(bin, 'helm'), '#!/bin/sh\nfor f in mesh/*.yaml; do cat "$f"; echo ---; done\n', { mode: 0o755 });
  broker = await startFakeBroker(join(home, 'mesh'), join(home, 'access.yaml'));
  cluster = await startFakeCluster(join(home, 'mesh'));
  mkdirSync(join(home, '.kube'));
  writeFileSync(join(home, '.kube/config'), cluster.kubeconfig);
});
afterAll(async () => {
  await Promise.all([broker?.close(), cluster?.close()]);
  rmSync(home, { recursive: true });
});

/** Commands with another exit code than 0: a difference; no STRICT in a mesh that is known whole. */
const CODES: readonly (readonly [RegExp, number])[] = [
  [/ diff .*--exit-code/, 1],
  [/ lint --kubeconfig/, 1],
];

function runLine(line: string): Promise<{ readonly code: number; readonly out: string; readonly err: string }> {
  const env = {
    HOME: home,
    PATH: `${join(home, 'bin')}:${process.env.PATH}`,
    NODE_COMPILE_CACHE: process.env.NODE_COMPILE_CACHE,
    MESHPASS_OPERATOR_TOKEN: 'an-operators-token',
    MESHPASS_PUBLIC_URL: BROKER,
    MESHPASS_OPERATOR: broker.origin,
  };
  const text = line.replace(
    /--(broker|operator) (?:https:\/\/broker\.example\.com|http:\/\/127\.0\.0\.1:9090)/g,
    `--$1 ${broker.origin}`,
  );
  return new Promise((resolve) => {
    execFile('bash', ['-c', `set -o pipefail; ${text}`], { cwd: home, env }, (error, out, err) =>
      resolve({ code: error ? Number(error.code) : 0, out, err }),
    );
  });
}

/** Matches the whole output; a line `...` of the page stands for any lines. */
function patternOf(prints: string): RegExp {
  const lines = prints
    .split('\n')
    .map((line) => (line === '...' ? '(?:\\n.*)*' : `\\n${line.replace(/[\\^$.*+?()[\]{}|]/g, '\\$&')}`));
  return new RegExp(`^${lines.join('')}\\n*$`);
}

describe.each([
  ...PAGES.map((page) => [`docs/${page}`, examplesIn(page)] as const),
  ['the help of the policy commands', HELP] as const,
])('%s', (_, examples) => {
  it('has examples', () => expect(examples.length).toBeGreaterThan(2));

  it.each(examples.map((one) => [one.line, one] as const))('%s', async (line, { prints }) => {
    const { code, out, err } = await runLine(line);
    expect(err).not.toMatch(/\[[a-z_]+\]\n$/);
    expect({ code, err: code === 0 ? '' : err, out: code === 0 ? '' : out }).toMatchObject({
      code: CODES.find(([which]) => which.test(line))?.[1] ?? 0,
    });
    if (prints !== undefined) expect(`\n${out}`).toMatch(patternOf(prints));
  });
});

it('flags that these pages speak of exist', () => {
  const known = new Set(
    POLICY.flatMap(({ command }) => Object.entries(command.flags).map(([name, flag]) => longFlag(name, flag))),
  );
  for (const page of PAGES) {
    const text = readFileSync(join(ROOT, 'docs', page), 'utf8');
    for (const [, flag] of text.matchAll(/`meshpass policy [a-z-]+[^`\n]*?(--[a-z-]+)/g)) expect(known).toContain(flag);
  }
});
