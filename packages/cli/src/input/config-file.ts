/**
 * Reads flag values from a YAML file (`--config`) that is keyed by flag name. Errors include line numbers. Flags and
 * environment variables override the values in the file.
 */
import { statSync } from 'node:fs';
import { formatPlace, readYaml } from '@meshpass/access';
import { MeshpassError } from '@meshpass/identity';
import type { Command } from '../command/define.ts';
import { type Flag, isSet, longFlag, text } from '../command/flag.ts';
import { readTextFile } from './files.ts';

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
  const settings = readSettings(file, flags);
  const secret = settings.find(({ flag }) => flag.isSecret);
  if (secret && (statSync(file).mode & 0o007) !== 0)
    throw invalid([
      `${file} contains ${secret.key}, which may include a password, and every user of this machine can read the file. Run chmod 0640, or use the environment variable.`,
    ]);
  return settings.flatMap(({ key, flag, set }) =>
    isSet(flag, env) || valuesOf(`--${key}`, words).length > 0 ? [] : set,
  );
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

interface Setting {
  /** The name of the flag as typed on the command line, such as `no-by-name` for a flag that turns something off. */
  readonly key: string;
  readonly flag: Flag<unknown>;
  /** The words that have the same effect on the command line. */
  readonly set: readonly string[];
}

function readSettings(file: string, flags: Command['flags']): readonly Setting[] {
  const read = readYaml(readTextFile(file, '--config', 'config_invalid'), file);
  if ('problems' in read) throw invalid(read.problems.map(({ place, message }) => `${formatPlace(place)}: ${message}`));
  const { value, locate } = read.yaml;
  if (value === null) return [];
  if (typeof value !== 'object' || Array.isArray(value))
    throw invalid([`${file}:1:1: must be a mapping of flags to values`]);
  const known = new Map(Object.entries(flags).map(([name, flag]) => [longFlag(name, flag).slice(2), flag]));
  const problems: string[] = [];
  const settings = Object.entries(value).flatMap(([key, given]): readonly Setting[] => {
    const problem = (part: 'key' | 'value', message: string) => {
      problems.push(`${formatPlace(locate([key], part))}: ${message}`);
      return [];
    };
    const flag = key === 'config' ? undefined : known.get(key);
    if (!flag) return problem('key', `unknown setting "${key}"`);
    if (flag.isCommandLineOnly) return problem('key', `"${key}" can only be set on the command line`);
    try {
      return [{ key, flag, set: wordsOf(key, flag, given) }];
    } catch (thrown) {
      return problem('value', (thrown as Error).message);
    }
  });
  if (problems.length > 0) throw invalid(problems);
  return settings;
}

/**
 * Converts a value of the configuration file to words.
 * @throws MeshpassError `usage` if the flag does not accept the value
 */
function wordsOf(key: string, { value, kind, choices, read }: Flag<unknown>, given: unknown): readonly string[] {
  const wrong = (what: string) => new MeshpassError('usage', `${key} must be ${what}`);
  if (value === undefined) {
    if (typeof given !== 'boolean') throw wrong('true or false');
    return given ? [`--${key}`] : [];
  }
  const items: readonly unknown[] = Array.isArray(given) ? given : [given];
  if (!items.every((one) => ['string', 'number', 'boolean'].includes(typeof one)))
    throw wrong('a string, a number, or a list of these');
  const isJoined = value.endsWith(',...>');
  if (Array.isArray(given) && kind !== 'list' && !isJoined) throw wrong('a single string or number');
  const words = isJoined ? [items.join(',')] : items.map(String);
  for (const word of words) {
    if (choices && !choices.includes(word)) throw wrong(`one of ${choices.join(', ')}`);
    read(word, key, []);
  }
  return words.map((word) => `--${key}=${word}`);
}

function invalid(problems: readonly string[]): MeshpassError {
  return new MeshpassError('config_invalid', problems.join('\n'));
}
