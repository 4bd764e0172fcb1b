/** Builds that are kept by their inputs. */
import { existsSync, globSync, linkSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { keepBuild } from '../../deploy/executable/kept.ts';

const DIST = fileURLToPath(new URL('../../dist/', import.meta.url));
const NAME = `test-of-kept-${process.pid}`;

let folder: string;
let builds: number;
beforeEach(() => {
  mkdirSync(DIST, { recursive: true });
  folder = mkdtempSync(join(DIST, 'kept-test-'));
  builds = 0;
});
afterEach(() => {
  rmSync(folder, { recursive: true });
  for (const kept of globSync(`kept/${NAME}-*`, { cwd: DIST })) rmSync(join(DIST, kept), { recursive: true });
});

const build = (settings: readonly string[], fresh = false) => {
  const output = join(folder, 'output');
  return keepBuild({ name: NAME, sources: [], settings, outputs: [output] }, fresh, async () => {
    rmSync(output, { recursive: true, force: true });
    mkdirSync(output);
    writeFileSync(join(output, 'file'), `${settings} ${++builds}`);
  });
};
const built = () => readFileSync(join(folder, 'output/file'), 'utf8');

it('a build of the same inputs is copied to its place, and not repeated', async () => {
  expect(await build(['x64'])).toBe(true);
  rmSync(join(folder, 'output'), { recursive: true });
  expect([await build(['x64']), built()]).toEqual([false, 'x64 1']);
});

it('other inputs are built, and replace the kept build', async () => {
  await build(['x64']);
  expect([await build(['arm64']), built()]).toEqual([true, 'arm64 2']);
  expect(globSync(`kept/${NAME}-*`, { cwd: DIST })).toHaveLength(1);
});

it('rebuilds changed inputs, and keeps no stale build', async () => {
  await build(['x64']);
  expect([await build(['x64'], true), built()]).toEqual([true, 'x64 2']);
  expect([await build(['x64']), built()]).toEqual([false, 'x64 1']);
});

it('a reader keeps an earlier build when another takes its name', async () => {
  await build(['x64']);
  const reader = join(folder, 'reader');
  mkdirSync(reader);
  linkSync(join(folder, 'output/file'), join(reader, 'file'));
  await build(['arm64']);
  expect(readFileSync(join(reader, 'file'), 'utf8')).toBe('x64 1');
  expect(existsSync(join(folder, 'output/file'))).toBe(true);
});

it.each([
  ['anew, for nobody', ['x64'], true],
  ['of something else', ['arm64'], false],
])('a build that writes into existing files changes no kept build: %s', async (_, settings, fresh) => {
  const output = join(folder, 'archive');
  const write = (settings: readonly string[], text: string, fresh = false) =>
    keepBuild({ name: NAME, sources: [], settings, outputs: [output] }, fresh, async () => writeFileSync(output, text));
  await write(['x64'], 'first');
  const [kept] = globSync(`kept/${NAME}-*/archive`, { cwd: DIST });
  const reader = join(folder, 'reader');
  linkSync(join(DIST, kept!), reader);
  await write(settings, 'second', fresh);
  expect([readFileSync(output, 'utf8'), readFileSync(reader, 'utf8')]).toEqual(['second', 'first']);
});
