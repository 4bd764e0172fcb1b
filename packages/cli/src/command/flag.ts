/**
 * Defines flags and arguments as data. The return type of `read` determines the type of the value that is passed to
 * `run`.
 */
import { MeshpassError } from '@meshpass/identity';

export interface HostPort {
  readonly host: string;
  readonly port: number;
}

/** The name and namespace of a Kubernetes object. */
export interface ObjectName {
  readonly namespace: string;
  readonly name: string;
}

export interface Flag<T> {
  /**
   * The placeholder to show in the help: `<file>`, or `<path...>` if the flag takes more than one word. It is absent if
   * the flag takes no value.
   */
  readonly value?: string;
  /** Describes the value, including its unit. */
  readonly summary: string;
  readonly env?: string;
  readonly isRequired: boolean;
  /** The default value, as it would be written on the command line. */
  readonly default?: string;
  /** Describes what happens without the flag, if the default is not a plain value. */
  readonly defaultText?: string;
  readonly choices?: readonly string[];
  readonly kind: 'value' | 'list' | 'on' | 'off';
  /**
   * Whether the value may contain a secret. If so, a configuration file that sets it must not be readable by other
   * users.
   */
  readonly isSecret?: boolean;
  /** Whether configuration files must not set the flag, because it has to be visible in the process list. */
  readonly isCommandLineOnly?: boolean;
  /**
   * Parses a value.
   * @param name the name of the flag, for error messages
   * @param before for a list, the values of the flag's earlier occurrences
   */
  readonly read: (text: string, name: string, before: unknown) => T;
}

/** A positional argument. Arguments are expected in the order in which they are defined. */
export interface Argument<T> {
  readonly summary: string;
  readonly isRequired: boolean;
  readonly isVariadic: boolean;
  readonly choices?: readonly string[];
  /** This function is never called. It only carries the type of the argument. */
  readonly read: () => T;
}

type ValueOf<One> = One extends { readonly read: (...words: never[]) => infer T } ? T : never;

/**
 * The options that are passed to `run`. They contain one property for each flag and argument, which is optional if the
 * value may be absent.
 */
export type OptionsOf<Inputs> = {
  readonly [Name in keyof Inputs as undefined extends ValueOf<Inputs[Name]> ? never : Name]: ValueOf<Inputs[Name]>;
} & {
  readonly [Name in keyof Inputs as undefined extends ValueOf<Inputs[Name]> ? Name : never]?: ValueOf<Inputs[Name]>;
};

interface Optional {
  readonly env?: string;
  readonly defaultText?: string;
  readonly isSecret?: boolean;
  readonly isCommandLineOnly?: boolean;
}
type Certain = Optional & ({ readonly required: true } | { readonly default: string });

interface ValueFlag<T> {
  (value: string, summary: string, more: Certain): Flag<T>;
  (value: string, summary: string, more?: Optional): Flag<T | undefined>;
}

function valueFlag<T>(read: (text: string, name: string) => T): ValueFlag<T> {
  return (value: string, summary: string, more: Optional & { required?: true; default?: string } = {}) => {
    const { required = false, ...rest } = more;
    return { value, summary, kind: 'value', isRequired: required, read, ...rest };
  };
}

export const text = valueFlag((given) => given);

/**
 * Parses a value of the form `HOST:PORT`.
 * @throws MeshpassError `usage`, with the name of the flag
 */
export function parseHostPort(given: string, flag: string): HostPort {
  const match = /^(\[[0-9a-fA-F:]+\]|[^:\s]+):(\d{1,5})$/.exec(given);
  const found = Number(match?.[2]);
  if (!match || found > 65_535) throw new MeshpassError('usage', `${flag} must be HOST:PORT, not "${given}".`);
  return { host: match[1]!.replace(/^\[|\]$/g, ''), port: found };
}

/**
 * Parses a non-negative whole number.
 * @throws MeshpassError `usage`, with the name of the flag
 */
export function parseWholeNumber(given: string, flag: string): number {
  if (!/^\d{1,9}$/.test(given)) throw new MeshpassError('usage', `${flag} must be a whole number, not "${given}".`);
  return Number(given);
}

// The following functions define flags of specific types. An invalid value is reported as a MeshpassError `usage` that
// contains the name of the flag.

/** Defines a flag that takes a whole number. */
export const wholeNumber = valueFlag(parseWholeNumber);
/** Defines a flag that takes a port number from 0 to 65535. */
export const port = valueFlag((given, flag) => {
  if (/^\d{1,5}$/.test(given) && Number(given) <= 65_535) return Number(given);
  throw new MeshpassError('usage', `${flag} must be a port from 0 to 65535, not "${given}".`);
});
/** Defines a flag that takes a value of the form `HOST:PORT`. */
export const address: ValueFlag<HostPort> = valueFlag(parseHostPort);
/** Defines a flag that takes the name of a Kubernetes object in the form `NAMESPACE/NAME`. */
export const objectName: ValueFlag<ObjectName> = valueFlag((given, flag) => {
  const [, namespace, name] = /^([a-z0-9-]{1,63})\/([a-z0-9.-]{1,253})$/.exec(given) ?? [];
  if (namespace !== undefined && name !== undefined) return { namespace, name };
  throw new MeshpassError('usage', `${flag} must be NAMESPACE/NAME, not "${given}".`);
});
/** Defines a flag that takes a duration such as `90s`, `10m` or `8h`, which is converted to seconds. */
export const duration = valueFlag((given, flag) => {
  const match = /^([1-9][0-9]{0,5})([smh])$/.exec(given);
  if (!match) throw new MeshpassError('usage', `${flag} must be a duration such as 90s, 30m or 2h, not ${given}.`);
  return Number(match[1]) * { s: 1, m: 60, h: 3600 }[match[2] as 's' | 'm' | 'h'];
});
/** Defines a flag that takes text, which must not be blank. */
export const nonBlankText = valueFlag((given, flag) => {
  if (given.trim() === '') throw new MeshpassError('usage', `${flag} must not be empty.`);
  return given;
});

/** Defines a flag that takes a value of the form `KEY=VALUE`. */
export const label: ValueFlag<Readonly<Record<string, string>>> = valueFlag((given, name) => {
  const [key, value] = given.split('=');
  if (!key || !value) throw new MeshpassError('usage', `${name} must be KEY=VALUE, not "${given}".`);
  return { [key]: value };
});

/** Defines a flag that accepts a fixed set of values. */
export function choice<const Choice extends string>(
  choices: readonly Choice[],
  summary: string,
  more: { readonly default: Choice; readonly value?: string; readonly env?: string },
): Flag<Choice> {
  return {
    value: '<word>',
    ...more,
    summary,
    choices,
    kind: 'value',
    isRequired: false,
    read: (given) => given as Choice,
  };
}

/** Defines a flag that can be repeated, and collects its values in a list. */
export function list(value: string, summary: string): Flag<readonly string[]> {
  return {
    value,
    summary: `${summary}; repeatable`,
    kind: 'list',
    isRequired: false,
    read: (given, _name, before) => [...(before as readonly string[]), given],
  };
}

/** Defines a flag that is true if it is present. */
export function toggle(summary: string, more: { readonly env?: string } = {}): Flag<boolean> {
  return { summary, kind: 'on', isRequired: false, read: () => true, ...more };
}

/** Defines a flag that is false if it is present. The property `byName`, for example, becomes `--no-by-name`. */
export function negatedFlag(summary: string): Flag<boolean> {
  return { summary, kind: 'off', isRequired: false, read: () => false };
}

/**
 * Defines a required argument.
 * @param choices the words to accept. If it is omitted, any word is accepted
 */
export function argument(summary: string, choices?: readonly string[]): Argument<string> {
  return { summary, isRequired: true, isVariadic: false, ...(choices && { choices }), read: () => '' };
}

/** Defines an argument that accepts any number of words. */
export function variadicArgument(summary: string, { required = false } = {}): Argument<readonly string[]> {
  return { summary, isRequired: required, isVariadic: true, read: () => [] };
}

/**
 * Adds an environment variable to every flag that does not define one. The variable is derived from the name of the
 * flag. For example, the variable for `logLevel` is `MESHPASS_LOG_LEVEL`.
 */
export function withEnvironmentVariables<const Flags extends Readonly<Record<string, Flag<unknown>>>>(
  flags: Flags,
): Flags {
  const named = Object.entries(flags).map(([name, flag]) => {
    const env = `MESHPASS_${name.replace(/[A-Z]/g, (letter) => `_${letter}`).toUpperCase()}`;
    return [name, { env, ...flag }];
  });
  return Object.fromEntries(named) as Flags;
}

/** Returns the long form of a flag, such as `--fail-on` for `failOn`. */
export function longFlag(name: string, { kind }: Pick<Flag<unknown>, 'kind'>): string {
  return `--${kind === 'off' ? 'no-' : ''}${name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`;
}

/**
 * Whether the environment variable of a flag counts as set. An empty variable does not count, and neither does a toggle
 * that is set to a value such as `false` or `0`.
 */
export function isSet({ env, kind }: Flag<unknown>, environment: NodeJS.ProcessEnv): boolean {
  const given = env && environment[env];
  return !!given && (kind !== 'on' || !/^(?:0|false|no|off)$/i.test(given));
}
