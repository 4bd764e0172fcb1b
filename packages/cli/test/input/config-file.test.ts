/** `--config`: values of flags from a file, with errors by line. */
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from 'vitest';
import { buildParser } from '../../src/command/build.ts';
import { type Command, defineCommand } from '../../src/command/define.ts';
import { address, choice, list, negatedFlag, text, toggle, wholeNumber } from '../../src/command/flag.ts';
import type { Group } from '../../src/command/tree.ts';
import { configFlag, readConfigWords } from '../../src/input/config-file.ts';
import { serveFlags } from '../../src/serve/flags.ts';

const COMMAND = defineCommand({
  examples: ['meshpass try'],
  page: 'docs/cli.md',
  flags: {
    config: configFlag,
    access: text('<file>', 'a file', { env: 'MESHPASS_TEST_ACCESS', required: true }),
    listen: address('<host:port>', 'where', { default: '0.0.0.0:8443' }),
    lease: wholeNumber('<seconds>', 'how long', { default: '45' }),
    proxies: text('<cidr,...>', 'which'),
    failOn: choice(['note', 'error'], 'what', { default: 'note' }),
    label: list('<word>', 'words'),
    gitops: toggle('only some'),
    byName: negatedFlag('no names'),
    database: text('<url>', 'which', { isSecret: true }),
    danger: text('<word>', 'dangerous', { isCommandLineOnly: true }),
  },
  run: () => {},
});

let folder: string;
let file: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'meshpass-config-'));
  file = join(folder, 'serve.yaml');
});
afterAll(() => rmSync(folder, { recursive: true }));
afterEach(() => vi.unstubAllEnvs());

/** Options that `run` receives with this configuration file and these words. */
async function optionsOf(content: string, ...words: string[]): Promise<Record<string, unknown>> {
  writeFileSync(file, content, { mode: 0o600 });
  let given: Record<string, unknown> = {};
  const recorded: Command = {
    ...COMMAND,
    run: (options) => {
      given = options;
    },
  };
  const load = async () => ({ command: recorded });
  const tree: Group = { summary: 'All.', examples: [], page: '', children: { try: { summary: 'Try.', load } } };
  const line = ['--config', file, ...words];
  const configured = readConfigWords(recorded, line, process.env);
  await buildParser(tree, ['try'], recorded, () => {}).parseAsync(['try', ...configured, ...line], { from: 'user' });
  return given;
}

describe('a configuration file', () => {
  it('sets flags by their names, including required ones', async () => {
    const content = `
access: access.yaml
listen: 127.0.0.1:9000
lease: 30
proxies: [10.0.0.0/8, fd00::/8]
fail-on: error
label: [one, two]
gitops: true
no-by-name: true
`;
    expect(await optionsOf(content)).toMatchObject({
      access: 'access.yaml',
      listen: { host: '127.0.0.1', port: 9000 },
      lease: 30,
      proxies: '10.0.0.0/8,fd00::/8',
      failOn: 'error',
      label: ['one', 'two'],
      gitops: true,
      byName: false,
    });
  });

  it('yields to the environment, and both to the command line', async () => {
    const content = 'access: of-the-file\nlease: 30\nlabel: [one]\n';
    vi.stubEnv('MESHPASS_TEST_ACCESS', 'of-the-environment');
    expect(await optionsOf(content)).toMatchObject({ access: 'of-the-environment', lease: 30, label: ['one'] });
    expect(await optionsOf(content, '--access', 'typed', '--lease=20', '--label', 'two')).toMatchObject({
      access: 'typed',
      lease: 20,
      label: ['two'],
    });
  });

  it('is found by its environment variable', () => {
    writeFileSync(file, 'access: a\n', { mode: 0o600 });
    expect(readConfigWords(COMMAND, [], { MESHPASS_CONFIG: file })).toEqual(['--access=a']);
    expect(readConfigWords(COMMAND, [], {})).toEqual([]);
  });

  it.each([
    ['leese: 30', '1:1: unknown setting "leese"'],
    ['access: a\nlease: soon', '2:8: lease must be a whole number'],
    ['fail-on: never', '1:10: fail-on must be one of note, error'],
    ['gitops: maybe', '1:9: gitops must be true or false'],
    ['listen: {host: x}', '1:9: listen must be a string, a number, or a list of these'],
    ['access: [a, b]', '1:9: access must be a single string or number'],
    ['danger: yes', '1:1: "danger" can only be set on the command line'],
    ['config: other.yaml', '1:1: unknown setting "config"'],
    ['failOn: error', '1:1: unknown setting "failOn"'],
    ['[a]', '1:1: must be a mapping of flags to values'],
    ['access: a\naccess: b', '2:1: duplicate key "access"'],
    ['access: &a b', 'YAML anchors are not allowed'],
  ])('is refused if it has %s, with file and line', async (content, problem) => {
    const refused = optionsOf(content);
    await expect(refused).rejects.toMatchObject({ code: 'config_invalid' });
    await expect(refused).rejects.toThrow(problem.startsWith('YAML') ? problem : `${file}:${problem}`);
  });

  it('with a secret must not be readable by all users', async () => {
    const content = 'access: a\ndatabase: postgres://u:p@h/d\n';
    expect(await optionsOf(content)).toMatchObject({ database: 'postgres://u:p@h/d' });
    chmodSync(file, 0o644);
    expect(() => readConfigWords(COMMAND, ['--config', file], {})).toThrow(/database, which may include a password/);
  });

  it('of the broker contains neither its own flag nor flags that must be visible on the command line', () => {
    expect(serveFlags.labOnlySendGithubTokensTo.isCommandLineOnly).toBe(true);
    expect(serveFlags.databaseUrl.isSecret).toBe(true);
  });
});
