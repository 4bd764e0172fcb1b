/**
 * A command as a single definition: flags, help and action. The type of its options is derived from the flags, as are
 * the help, the parser (build.ts), the reference (docs/cli.md) and their tests. It is data rather than calls to
 * commander's typed builder, so that shared flags can be spread, listed and documented. Parsing is left to commander.
 */
import type { Answer } from './answer.ts';
import type { ExitCode } from './failure.ts';
import type { Argument, Flag, OptionsOf } from './flag.ts';

type Inputs<Kind> = Readonly<Record<string, Kind>>;

export interface CommandDefinition<Args extends Inputs<Argument<unknown>>, Flags extends Inputs<Flag<unknown>>> {
  /** A few sentences to add to the summary in the tree. */
  readonly about?: string;
  /** Arguments in order. */
  readonly args?: Args;
  readonly flags: Flags;
  /** Meanings of exit codes that differ from EXIT_CODES. */
  readonly exitCodes?: Readonly<Partial<Record<ExitCode, string>>>;
  /** Environment variables without a flag. */
  readonly env?: Readonly<Record<string, string>>;
  /** Complete command lines. */
  readonly examples: readonly [string, ...string[]];
  /** Documentation page, relative to the repository's root. */
  readonly page: string;
  /** Runs the command, and returns an answer to print in the format of `--output`, or an exit code. Throws on failure. */
  readonly run: (
    options: OptionsOf<Args & Flags>,
  ) => Answer | ExitCode | void | Promise<Answer | ExitCode | undefined> | Promise<void>;
}

type AnyDefinition = CommandDefinition<Inputs<Argument<unknown>>, Inputs<Flag<unknown>>>;

/** Definition after type checking, as data for all other parts. */
export interface Command extends Required<Omit<AnyDefinition, 'about' | 'examples' | 'run'>> {
  readonly about?: string;
  readonly examples: readonly string[];
  readonly run: (options: never) => ReturnType<AnyDefinition['run']>;
}

/** Flag values by option name, as if they had been typed. */
export type ConfigValues = Readonly<Record<string, readonly string[] | boolean>>;

/**
 * Defines a command, inferring the types of its options.
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
>(definition: CommandDefinition<Args, Flags>): Command {
  return { args: {}, exitCodes: {}, env: {}, ...definition };
}
