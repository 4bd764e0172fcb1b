/** Command lines that are wrong are told as other failures are; examples in the help are right. */
import type { Command } from 'commander';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { pathOf } from '../../src/command/usage.ts';
import { commands, run } from '../../src/program.ts';

const leaves = (command: Command): readonly Command[] =>
  command.commands.length === 0 ? [command] : command.commands.flatMap(leaves);
const helpOf = (command: Command): string => {
  let text = '';
  command.configureOutput({
    writeOut: (part) => {
      text += part;
    },
  });
  command.outputHelp();
  return text;
};

describe('the help of every command', () => {
  it.each(leaves(commands()).map((one) => [pathOf(one), one] as const))(
    '%s: explains its exit codes, and has examples of flags that exist',
    (path, command) => {
      const examples = helpOf(command).split('\nExamples:\n')[1]?.trim().split('\n') ?? [];
      expect(helpOf(command).match(/Exit codes: 0/g)).toHaveLength(1);
      expect(examples.length).toBeGreaterThan(0);
      for (const example of examples) {
        expect(example).toContain(path);
        for (const flag of example.slice(example.indexOf(path)).match(/(?<= )--[a-z-]+/g) ?? [])
          expect(command.options.map(({ long }) => long)).toContain(flag);
        const missing = command.options.filter(
          ({ mandatory, long, defaultValue }) => mandatory && defaultValue === undefined && !example.includes(long!),
        );
        expect(missing.map(({ long, envVar }) => [long, envVar]).filter(([, env]) => env === undefined)).toEqual([]);
      }
    },
  );
});

describe('no command at all', () => {
  afterEach(() => vi.restoreAllMocks());

  it('explains itself in twelve lines, with commands that exist', async () => {
    const log = vi.spyOn(console, 'log').mockImplementation(() => {});
    expect(await run(['node', 'meshpass'])).toBe(0);
    const text = log.mock.calls.flat().join('\n');
    expect(text.split('\n')).toHaveLength(12);
    const paths = leaves(commands()).map(pathOf);
    for (const [, path] of text.matchAll(/ {2}(meshpass(?: [a-z-]+)+?) {2}/g)) expect(paths).toContain(path);
  });
});

describe('a wrong command line', () => {
  afterEach(() => vi.restoreAllMocks());

  async function said(...words: string[]): Promise<readonly [number, string]> {
    const error = vi.spyOn(console, 'error').mockImplementation(() => {});
    const code = await run(['node', 'meshpass', ...words]);
    return [code, error.mock.calls.flat().join('\n')];
  }

  it('names a missing flag, its environment variable, and the help of the command', async () => {
    vi.stubEnv('MESHPASS_OPERATOR', undefined);
    expect(await said('sessions', 'list')).toEqual([
      2,
      "meshpass: Required option '--operator <url>' not specified, nor MESHPASS_OPERATOR set. See meshpass sessions list --help. [usage]",
    ]);
    vi.unstubAllEnvs();
  });

  it('guesses what was meant', async () => {
    expect(await said('policy', 'lnt')).toEqual([
      2,
      "meshpass: Unknown command 'lnt' (Did you mean lint?). See meshpass policy --help. [usage]",
    ]);
  });

  it.each([
    ['nonsense --help', "Unknown command 'nonsense'. See meshpass --help."],
    ['policy nonsense -h', "Unknown command 'nonsense'. See meshpass policy --help."],
  ])('%s is no way to the general help', async (line, message) => {
    const [code, text] = await said(...line.split(' '));
    expect([code, text]).toEqual([2, `meshpass: ${message} [usage]`]);
  });

  it('is JSON where JSON is asked for', async () => {
    const [code, text] = await said('status', '--output', 'json', '--bogus');
    expect([code, JSON.parse(text)]).toEqual([
      2,
      { error_code: 'usage', error_description: "Unknown option '--bogus'. See meshpass status --help." },
    ]);
  });
});
