/** Command lines that are wrong are reported as other failures are; the help of each command is complete and right. */

import { existsSync } from 'node:fs';
import { pageUrl } from '@meshpass/identity';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { exitCodesOf } from '../../src/command/build.ts';
import { longFlag } from '../../src/command/flag.ts';
import { run, TREE } from '../../src/program.ts';
import { allCommands, groups, helpOf, parse, wordsOf } from './help-of.ts';

const ROOT = new URL('../../../../', import.meta.url);
const COMMANDS = await allCommands();

/** Variables of the tests' environment must not replace flags of an example. */
function withoutEnvironment(): void {
  for (const { command } of COMMANDS)
    for (const { env } of Object.values(command.flags)) if (env !== undefined) vi.stubEnv(env, undefined);
}

describe('the help of every command', () => {
  beforeEach(withoutEnvironment);
  afterEach(() => vi.unstubAllEnvs());

  it.each(COMMANDS.map((one) => [one.name, one] as const))(
    '%s: has a summary, exit codes, examples and a page, and describes every flag and argument',
    async (name, { words, summary, command }) => {
      const help = (await helpOf(words, command)).replace(/\s+/g, ' ');
      expect(help).toContain(`Usage: ${name} [options]`);
      expect(summary).toMatch(/^[A-Z].{10,74}[.]$/);
      expect(help).toContain(summary);
      for (const [flag, one] of Object.entries(command.flags)) {
        expect(one.summary.length, flag).toBeGreaterThan(5);
        expect(help).toContain(`${longFlag(flag, one)} ${one.value ?? ''}`);
        expect(help).toContain(one.summary);
        if (one.env !== undefined) expect(help).toContain(`env: ${one.env}`);
        const byDefault = one.defaultText ?? one.default;
        if (byDefault !== undefined) expect(help).toContain(`default: ${byDefault}`);
      }
      for (const one of Object.values(command.args)) expect(help).toContain(one.summary);
      expect(help.match(/Exit codes: 0 /g)).toHaveLength(1);
      for (const [code, meaning] of exitCodesOf(command)) expect(help).toContain(`${code} ${meaning}`);
      for (const variable of Object.keys(command.env)) expect(help).toContain(variable);
      expect(help).toContain('Examples: ');
      expect(help).toContain(`More: ${pageUrl(command.page)}.`);
      expect(existsSync(new URL(command.page, ROOT))).toBe(true);
    },
  );

  it.each(COMMANDS.flatMap(({ words, command }) => command.examples.map((line) => [line, words, command] as const)))(
    'the example %s parses',
    async (line, words, command) => {
      expect(await parse(wordsOf(line), command)).toEqual(words);
    },
  );

  it.each(groups().map(([words, group]) => [['meshpass', ...words].join(' '), words, group] as const))(
    '%s lists its commands, exit codes, an example and a page',
    async (_, words, group) => {
      const help = (await helpOf(words)).replace(/\s+/g, ' ');
      for (const [name, { summary }] of Object.entries(group.children))
        expect(help).toMatch(new RegExp(` ${name} .*${summary.replace(/[.]/g, '[.]')}`));
      expect(help).toContain('Exit codes: 0 done');
      expect(help).toContain(`More: ${pageUrl(group.page)}.`);
      expect(existsSync(new URL(group.page, ROOT))).toBe(true);
      for (const line of group.examples) {
        expect(help).toContain(line);
        const named = COMMANDS.find((one) => line.startsWith(one.name))!;
        if (!line.endsWith('--help')) expect(await parse(wordsOf(line), named.command)).toEqual(named.words);
      }
    },
  );

  it('gives a flag one meaning and one environment variable in every command', () => {
    const meanings = Map.groupBy(
      COMMANDS.flatMap(({ name, command }) =>
        Object.entries(command.flags).map(([flag, { env }]) => ({ name, flag, env })),
      ),
      ({ flag }) => flag,
    );
    const several = [...meanings].filter(([, uses]) => new Set(uses.map(({ env }) => env)).size > 1);
    expect(several.map(([flag]) => flag).sort()).toEqual(SEVERAL_MEANINGS);
  });
});

const SEVERAL_MEANINGS: readonly string[] = [
  // `meshpass check` reads the access file only with --before, so a variable must not select it.
  'access',
  // `meshpass token` asks for a token of another audience; elsewhere it is that of the workspace's own proof.
  'audience',
  // The linter reads only files unless the command line names a cluster.
  'kubeconfig',
  // `serve` and `edge` are different servers; in `serve` the edge's flags begin with --edge.
  ...['listen', 'operatorListen', 'tlsCert', 'tlsKey'],
  // As of kubectl and helm: `check` asks about the release in it, `policy` places manifests without one there.
  'namespace',
].sort();

describe('no command at all', () => {
  afterEach(() => vi.restoreAllMocks());

  it('prints its help: the commands of each kind of user below one heading', async () => {
    const write = vi.spyOn(process.stdout, 'write').mockImplementation(() => true);
    expect(await run(['node', 'meshpass'])).toBe(0);
    const help = write.mock.calls.flat().join('');
    const headings = [...help.matchAll(/^(\S[^:\n]*):$/gm)].map(([, heading]) => heading);
    const users = ['In a workspace', 'Policy', 'Operators', 'Running a broker', 'More'];
    expect(headings).toEqual(['Options', ...users, 'Exit codes', 'Examples']);
    expect(Object.values(TREE.children).filter(({ heading }) => !users.includes(heading ?? ''))).toEqual([]);
  });
});

describe('a group without a command', () => {
  afterEach(() => vi.restoreAllMocks());

  it('prints its help on standard output, with 0', async () => {
    const write = vi.spyOn(process.stdout, 'write').mockImplementation(() => true);
    expect(await run(['node', 'meshpass', 'policy'])).toBe(0);
    expect(write.mock.calls.flat().join('')).toContain('Usage: meshpass policy');
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
    vi.stubEnv('MESHPASS_ACCESS', undefined);
    expect(await said('policy', 'apply')).toEqual([
      2,
      "meshpass: Required option '--access <file>' not specified, and MESHPASS_ACCESS is not set. See meshpass policy apply --help. [usage]",
    ]);
    vi.unstubAllEnvs();
  });

  it('suggests the intended command', async () => {
    expect(await said('policy', 'lnt')).toEqual([
      2,
      "meshpass: Unknown command 'lnt' (Did you mean lint?). See meshpass policy --help. [usage]",
    ]);
  });

  it.each([
    ['nonsense --help', "Unknown command 'nonsense'. See meshpass --help."],
    ['policy nonsense -h', "Unknown command 'nonsense'. See meshpass policy --help."],
    ['--help nonsense', "Unknown command 'nonsense'. See meshpass --help."],
    ['help nonsense', "Unknown command 'nonsense'. See meshpass --help."],
    ['help policy nonsense', "Unknown command 'nonsense'. See meshpass policy --help."],
  ])('%s is no way to the general help', async (line, message) => {
    const [code, text] = await said(...line.split(' '));
    expect([code, text]).toEqual([2, `meshpass: ${message} [usage]`]);
  });

  it('is JSON if JSON was requested', async () => {
    const [code, text] = await said('status', '--output', 'json', '--bogus');
    expect([code, JSON.parse(text)]).toEqual([
      2,
      { error_code: 'usage', error_description: "Unknown option '--bogus'. See meshpass status --help." },
    ]);
  });
});
