/** Selection of a command by a command line, without loading the others. */
import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { defineCommand } from '../../src/command/define.ts';
import { findCommand, type Group } from '../../src/command/tree.ts';
import { run } from '../../src/program.ts';

const command = defineCommand({ flags: {}, examples: ['meshpass one'], page: 'docs/cli.md', run: () => {} });
const load = { one: vi.fn(async () => ({ command })), two: vi.fn(async () => ({ command })) };
const about = { summary: 'Try.', examples: [], page: 'docs/cli.md' };
const TREE: Group = {
  ...about,
  children: {
    one: { summary: 'One.', load: load.one },
    group: { ...about, children: { two: { summary: 'Two.', load: load.two } } },
  },
};

beforeEach(() => {
  for (const one of Object.values(load)) one.mockClear();
  vi.spyOn(process.stdout, 'write').mockReturnValue(true);
  vi.spyOn(process.stderr, 'write').mockReturnValue(true);
});
afterEach(() => vi.restoreAllMocks());

it.each([
  ['one --flag x', 'one', 'one --flag x'],
  ['group two x', 'group two', 'group two x'],
  ['group', 'group', 'group'],
  ['help', '', '--help'],
  ['help one', 'one', 'one --help'],
  ['group help two', 'group two', 'group two --help'],
  ['--help group two', 'group two', 'group two --help'],
  ['one help', 'one', 'one help'],
  ['nonsense --help', '', 'nonsense'],
  ['group nonsense -h', 'group', 'group nonsense'],
  ['help nonsense', '', 'nonsense'],
  ['constructor', '', 'constructor'],
  ['--version', '', '--version'],
])('%s selects "%s" and parses "%s"', (line, path, words) => {
  const selected = findCommand(TREE, line.split(' '));
  expect([selected.path.join(' '), selected.words.join(' ')]).toEqual([path, words]);
});

it.each([
  ['--version', 0, []],
  ['--help', 0, []],
  ['group --help', 0, []],
  ['group', 0, []],
  ['one', 0, ['one']],
  ['group two --help', 0, ['two']],
])('meshpass %s exits with %i and loads %j', async (line, code, loaded) => {
  expect(await run(['node', 'meshpass', ...line.split(' ')], TREE)).toBe(code);
  expect(Object.entries(load).flatMap(([name, one]) => (one.mock.calls.length > 0 ? [name] : []))).toEqual(loaded);
});
