/** The flags and arguments of a command as data: the type of the value that `run` gets follows from how it is read. */
import { MeshpassError } from '@meshpass/identity/error';
import { type HostPort, hostPort, portNumber, wholeNumber as readWholeNumber } from './host-port.ts';

export interface Flag<T> {
  /** Its value as the help shows it: `<file>`, `<path...>` for several words. Absent: it takes none. */
  readonly value?: string;
  /** What it sets, with its unit. */
  readonly summary: string;
  readonly env?: string;
  readonly isRequired: boolean;
  /** As it would be typed. */
  readonly default?: string;
  /** How the help shows what happens without the flag, where that is no plain value. */
  readonly defaultText?: string;
  readonly choices?: readonly string[];
  readonly kind: 'value' | 'list' | 'on' | 'off';
  /** Its value may contain a secret: a file that has it must not be everybody's. */
  readonly isSecret?: boolean;
  /** Never taken from a file: whoever looks at the process must see it. */
  readonly isCommandLineOnly?: boolean;
  /** @param name the flag, for messages; @param before what earlier occurrences gave, for a list */
  readonly read: (text: string, name: string, before: unknown) => T;
}

/** A word without a flag, in the order of the definition. */
export interface Argument<T> {
  readonly summary: string;
  readonly isRequired: boolean;
  readonly isVariadic: boolean;
  readonly choices?: readonly string[];
  /** Never called; carries the type. */
  readonly read: () => T;
}

type ValueOf<One> = One extends { readonly read: (...words: never[]) => infer T } ? T : never;

/** What `run` gets for flags and arguments: a member for each, optional where the value may be absent. */
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
    return { ...{ value, summary, kind: 'value', isRequired: required, read }, ...rest };
  };
}

export const text = valueFlag((given) => given);
/** @throws MeshpassError `usage` when read */
export const wholeNumber = valueFlag(readWholeNumber);
/** 0 to 65535. @throws MeshpassError `usage` when read */
export const port = valueFlag(portNumber);
/** `HOST:PORT`. @throws MeshpassError `usage` when read */
export const address: ValueFlag<HostPort> = valueFlag(hostPort);

/** `KEY=VALUE`. @throws MeshpassError `usage` when read */
export const label: ValueFlag<Readonly<Record<string, string>>> = valueFlag((given, name) => {
  const [key, value] = given.split('=');
  if (!key || !value) throw new MeshpassError('usage', `${name} must be KEY=VALUE, not "${given}".`);
  return { [key]: value };
});

/** One of a few words. */
export function choice<const Choice extends string>(
  choices: readonly Choice[],
  summary: string,
  more: { readonly default: Choice; readonly value?: string; readonly env?: string },
): Flag<Choice> {
  return {
    value: '<word>',
    ...more,
    ...{ summary, choices, kind: 'value', isRequired: false },
    read: (given) => given as Choice,
  };
}

/** May be given again; every value counts. */
export function list(value: string, summary: string): Flag<readonly string[]> {
  return {
    ...{ value, summary: `${summary}; repeatable`, kind: 'list', isRequired: false },
    read: (given, _name, before) => [...(before as readonly string[]), given],
  };
}

/** True where it is given. */
export function toggle(summary: string, more: { readonly env?: string } = {}): Flag<boolean> {
  return { summary, kind: 'on', isRequired: false, read: () => true, ...more };
}

/** Member `byName` becomes `--no-by-name`; true where the flag is not given. */
export function turnOff(summary: string): Flag<boolean> {
  return { summary, kind: 'off', isRequired: false, read: () => false };
}

/** @param choices the words that are taken; absent: any */
export function argument(summary: string, choices?: readonly string[]): Argument<string> {
  return { summary, isRequired: true, isVariadic: false, ...(choices && { choices }), read: () => '' };
}

export function argumentsOf(summary: string, { required = false } = {}): Argument<readonly string[]> {
  return { summary, isRequired: required, isVariadic: true, read: () => [] };
}

/** `--fail-on` of `failOn`. */
export function longOf(name: string, { kind }: Pick<Flag<unknown>, 'kind'>): string {
  return `--${kind === 'off' ? 'no-' : ''}${name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`;
}
