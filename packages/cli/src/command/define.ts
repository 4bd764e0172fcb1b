/**
 * A command as one definition: flags, help and what it does. The type of its options follows from the flags, and so do the help, the
 * parser (build.ts), the reference (docs/cli.md) and the tests of both. It is data rather than calls to commander's typed builder,
 * because flags that commands share can then be spread, listed and documented; commander parses.
 */
import type { ExitCode } from './failure.ts';
import type { Argument, Flag, OptionsOf } from './flag.ts';

type Inputs<Kind> = Readonly<Record<string, Kind>>;

export interface Definition<Args extends Inputs<Argument<unknown>>, Flags extends Inputs<Flag<unknown>>> {
  /** What the summary in the tree leaves out; a few sentences. */
  readonly about?: string;
  /** In the order they are typed. */
  readonly args?: Args;
  readonly flags: Flags;
  /** What its exit codes mean, where they mean more than EXIT_CODES. */
  readonly exitCodes?: Readonly<Partial<Record<ExitCode, string>>>;
  /** Environment variables that no flag names. */
  readonly env?: Readonly<Record<string, string>>;
  /** Whole shell lines. */
  readonly examples: readonly [string, ...string[]];
  /** Page that explains it, below the repository's root. */
  readonly page: string;
  /** Returns its exit code; nothing: 0. Fails by throwing. */
  readonly run: (options: OptionsOf<Args & Flags>) => ExitCode | void | Promise<ExitCode> | Promise<void>;
}

/** A definition whose types are checked; what follows it reads it as data. */
export interface Command {
  readonly about?: string;
  readonly args: Inputs<Argument<unknown>>;
  readonly flags: Inputs<Flag<unknown>>;
  readonly exitCodes: Readonly<Partial<Record<ExitCode, string>>>;
  readonly env: Readonly<Record<string, string>>;
  readonly examples: readonly string[];
  readonly page: string;
  readonly run: (options: never) => ExitCode | void | Promise<ExitCode> | Promise<void>;
}

/** Values of flags by member of the options, as if they had been typed. */
export type ConfigValues = Readonly<Record<string, readonly string[] | boolean>>;

/**
 * @example
 * export const command = defineCommand({
 *   flags: { lines: wholeNumber('<number>', 'rows to print', { default: '20' }) },
 *   examples: ['meshpass audit tail --lines 50'],
 *   page: 'docs/audit.md',
 *   run: ({ lines }) => console.log(lines + 1),
 * });
 */
export function defineCommand<
  const Flags extends Inputs<Flag<unknown>>,
  const Args extends Inputs<Argument<unknown>> = Readonly<Record<never, never>>,
>(definition: Definition<Args, Flags>): Command {
  return { args: {}, exitCodes: {}, env: {}, ...definition };
}
