/** Values of flags, from the command line and the environment. */
import { afterEach, beforeEach, describe, expect, expectTypeOf, it, vi } from 'vitest';
import { buildParser } from '../../src/command/build.ts';
import { type Command, defineCommand } from '../../src/command/define.ts';
import {
  address,
  argument,
  choice,
  label,
  list,
  negatedFlag,
  text,
  toggle,
  variadicArgument,
  wholeNumber,
} from '../../src/command/flag.ts';
import { findCommand, type Group } from '../../src/command/tree.ts';

const FORM = { examples: ['meshpass try'], page: 'docs/cli.md' } as const;

/** Options that `run` receives, as their type and as their value. */
async function optionsOf(command: Command, ...words: string[]): Promise<unknown> {
  let given: unknown;
  const recorded: Command = {
    ...command,
    run: (options) => {
      given = options;
    },
  };
  const load = async () => ({ command: recorded });
  const tree: Group = { summary: 'All.', examples: [], page: '', children: { try: { summary: 'Try.', load } } };
  const selected = findCommand(tree, ['try', ...words]);
  await buildParser(tree, selected.path, recorded, () => {}).parseAsync(selected.words as string[], { from: 'user' });
  return given;
}

beforeEach(() => vi.stubEnv('MESHPASS_TEST', undefined));
afterEach(() => vi.unstubAllEnvs());

it('have the type that their reader returns', async () => {
  const command = defineCommand({
    ...FORM,
    args: { from: argument('where from'), to: variadicArgument('where to') },
    flags: {
      maybe: text('<word>', 'a word'),
      surely: text('<word>', 'a word', { default: 'word' }),
      seconds: wholeNumber('<seconds>', 'how long', { default: '45' }),
      at: address('<host:port>', 'where', { default: '[::1]:8443' }),
      of: label('<key=value>', 'what', { default: 'app=web' }),
      failOn: choice(['note', 'error'], 'what fails', { default: 'note' }),
      base: list('<path>', 'before'),
      yes: toggle('confirm'),
      byName: negatedFlag('no names'),
    },
    run: (options) => {
      expectTypeOf(options.from).toEqualTypeOf<string>();
      expectTypeOf(options.to).toEqualTypeOf<readonly string[]>();
      expectTypeOf(options.maybe).toEqualTypeOf<string | undefined>();
      expectTypeOf(options.surely).toEqualTypeOf<string>();
      expectTypeOf(options.seconds).toEqualTypeOf<number>();
      expectTypeOf(options.failOn).toEqualTypeOf<'note' | 'error'>();
      expectTypeOf(options.base).toEqualTypeOf<readonly string[]>();
      expectTypeOf(options.yes).toEqualTypeOf<boolean>();
    },
  });
  const byDefault = {
    from: 'a',
    to: [],
    surely: 'word',
    seconds: 45,
    at: { host: '::1', port: 8443 },
    of: { app: 'web' },
    failOn: 'note',
    base: [],
    yes: false,
    byName: true,
  };
  expect(await optionsOf(command, 'a')).toEqual(byDefault);
  const given = ['--seconds', '5', '--fail-on', 'error', '--base', 'x', '--base', 'y', '--yes', '--no-by-name'];
  expect(await optionsOf(command, 'a', 'b', 'c', ...given)).toEqual({
    ...byDefault,
    to: ['b', 'c'],
    seconds: 5,
    failOn: 'error',
    base: ['x', 'y'],
    yes: true,
    byName: false,
  });
});

describe('an environment variable', () => {
  const flags = { lease: wholeNumber('<seconds>', 'a lease', { env: 'MESHPASS_TEST', default: '45' }) };
  const command = defineCommand({ ...FORM, flags, run: () => {} });

  it.each([
    ['sets its flag', '30', [], 30],
    ['gives way to the flag', '30', ['--lease', '20'], 20],
    ['that is empty counts as not set', '', [], 45],
  ])('%s', async (_, value, words, lease) => {
    vi.stubEnv('MESHPASS_TEST', value);
    expect(await optionsOf(command, ...words)).toEqual({ lease });
  });

  it('is refused like its flag, by the name of the flag', async () => {
    vi.stubEnv('MESHPASS_TEST', 'long');
    await expect(optionsOf(command)).rejects.toMatchObject({
      code: 'usage',
      message: '--lease must be a whole number, not "long".',
    });
  });

  it.each([
    ['', false],
    ['0', false],
    ['false', false],
    ['Off', false],
    ['no', false],
    ['1', true],
    ['true', true],
  ])('switches on a toggle unless it is empty or a no: %j', async (value, gitops) => {
    vi.stubEnv('MESHPASS_TEST', value);
    const toggled = defineCommand({
      ...FORM,
      flags: { gitops: toggle('by others', { env: 'MESHPASS_TEST' }) },
      run: () => {},
    });
    expect(await optionsOf(toggled)).toEqual({ gitops });
  });
});

it.each([
  [address, 'elsewhere', '--at must be HOST:PORT, not "elsewhere".'],
  [label, 'app', '--at must be KEY=VALUE, not "app".'],
  [wholeNumber, '-1', '--at must be a whole number, not "-1".'],
])('refuses an unreadable value, and names the flag: %#', (kind, given, message) => {
  expect(() => kind('<value>', 'a value').read(given, '--at', undefined)).toThrow(message);
});
