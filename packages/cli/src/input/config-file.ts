/**
 * Reads flag values from a YAML file (`--config`) that is keyed by flag name. Errors include line numbers. Flags and
 * environment variables override the values in the file.
 */
import { statSync } from 'node:fs';
import { formatPlace, readYaml } from '@meshpass/access';
import { MeshpassError } from '@meshpass/identity/error';
import type { Command } from '../command/define.ts';
import { type Flag, isSet, longFlag, text } from '../command/flag.ts';
import { readTextFile } from './text-file.ts';

/** A flag for commands that accept a configuration file. Its property in the command's flags must be named `config`. */
export const configFlag = text(
  '<file>',
  'YAML file with flag names and values; flags and environment variables override it',
  {
    env: 'MESHPASS_CONFIG',
  },
);

/**
 * Reads the configuration file that is specified on the command line or in the environment, if there is one.
 * @param words the command line without the names of the command and its groups
 * @returns the words to insert before `words`: the settings that neither the command line nor the environment overrides
 * @throws MeshpassError `config_invalid` with `FILE:LINE:COLUMN` for each problem, or if the file contains a secret but
 *   can be read by other users
 */
export function readConfigWords({ flags }: Command, words: readonly string[], env: NodeJS.ProcessEnv): string[] {
  const file = valuesOf('--config', words).at(-1) ?? (env[flags.config?.env ?? ''] || undefined);
  if (file === undefined) return [];
  const values = readConfig(file, readTextFile(file, '--config', 'config_invalid'), flags);
  return Object.entries(values).flatMap(([name, given]) => {
    const long = longFlag(name, flags[name]!);
    if (isSet(flags[name]!, env) || valuesOf(long, words).length > 0) return [];
    if (typeof given === 'boolean') return given ? [long] : [];
    return given.map((word) => `${long}=${word}`);
  });
}

/** Returns the values of a flag on the command line. The parser uses the last one, except for lists. */
function valuesOf(long: string, words: readonly string[]): readonly string[] {
  const end = words.indexOf('--');
  return (end < 0 ? words : words.slice(0, end)).flatMap((word, index, all) => {
    if (word.startsWith(`${long}=`)) return [word.slice(long.length + 1)];
    const next = all[index + 1];
    return word === long && next !== undefined ? [next] : [];
  });
}

type ConfigValues = Readonly<Record<string, readonly string[] | boolean>>;

function readConfig(file: string, content: string, flags: Command['flags']): ConfigValues {
  const read = readYaml(content, file);
  if ('problems' in read) throw invalid(read.problems.map(({ place, message }) => `${formatPlace(place)}: ${message}`));
  const { value, locate } = read.yaml;
  if (value === null) return {};
  if (typeof value !== 'object' || Array.isArray(value))
    throw invalid([`${file}:1:1: must be a mapping of flags to values`]);
  const known = new Map(Object.entries(flags).map(([name, flag]) => [nameOf(name, flag), [name, flag] as const]));
  const values: Record<string, readonly string[] | boolean> = {};
  const problems: string[] = [];
  for (const [key, given] of Object.entries(value)) {
    const [name, flag] = known.get(key) ?? [];
    const problem = (part: 'key' | 'value', message: string) =>
      problems.push(`${formatPlace(locate([key], part))}: ${message}`);
    if (name === undefined || !flag || name === 'config') problem('key', `unknown setting "${key}"`);
    else if (flag.isCommandLineOnly) problem('key', `"${key}" can only be set on the command line`);
    else {
      const words = wordsOf(flag, given);
      if (typeof words === 'string') problem('value', `${key} ${words}`);
      else {
        try {
          if (typeof words !== 'boolean') for (const word of words) checkWord(flag, word, key);
          values[name] = words;
        } catch (thrown) {
          problem('value', thrown instanceof MeshpassError ? thrown.message : String(thrown));
        }
      }
    }
  }
  if (problems.length > 0) throw invalid(problems);
  refuseReadableSecret(file, flags, values);
  return values;
}

/**
 * Returns the name of a flag as typed on the command line, such as `no-by-name` for a flag that turns something off.
 */
function nameOf(name: string, flag: Flag<unknown>): string {
  return longFlag(name, flag).slice(2);
}

/**
 * Converts a value from the configuration file.
 * @returns the words as they would be typed, a boolean for a toggle, or a message that describes the problem
 */
function wordsOf({ value, kind }: Flag<unknown>, given: unknown): readonly string[] | boolean | string {
  if (value === undefined) return typeof given === 'boolean' ? given : 'must be true or false';
  const items: readonly unknown[] = Array.isArray(given) ? given : [given];
  if (!items.every((one) => ['string', 'number', 'boolean'].includes(typeof one)))
    return 'must be a string, a number, or a list of these';
  const words = items.map(String);
  if (kind === 'list') return words;
  if (value.endsWith(',...>')) return [words.join(',')];
  return Array.isArray(given) ? 'must be a single string or number' : words;
}

function checkWord(flag: Flag<unknown>, word: string, key: string): void {
  if (flag.choices && !flag.choices.includes(word))
    throw new MeshpassError('usage', `${key} must be one of ${flag.choices.join(', ')}`);
  flag.read(word, key, []);
}

function refuseReadableSecret(file: string, flags: Command['flags'], values: ConfigValues): void {
  const secret = Object.keys(values).find((name) => flags[name]?.isSecret);
  if (secret === undefined || (statSync(file).mode & 0o007) === 0) return;
  throw new MeshpassError(
    'config_invalid',
    `${file} contains ${nameOf(secret, flags[secret]!)}, which may include a password, and every user of this machine can read the file. Run chmod 0640, or use the environment variable.`,
  );
}

function invalid(problems: readonly string[]): MeshpassError {
  return new MeshpassError('config_invalid', problems.join('\n'));
}
