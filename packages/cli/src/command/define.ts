/**
 * A command is a single definition of its flags, help and action. The option types, the help, the parser (build.ts),
 * the reference (docs/cli.md) and their tests are all derived from the flags. The definition is plain data instead of
 * calls to commander's typed builder, so that shared flags can be spread, listed and documented. Commander still does
 * the parsing.
 */
import type { Answer } from './answer.ts';
import type { ExitCode } from './failure.ts';
import type { Argument, Flag, OptionsOf } from './flag.ts';

type Inputs<Kind> = Readonly<Record<string, Kind>>;

export interface CommandDefinition<Args extends Inputs<Argument<unknown>>, Flags extends Inputs<Flag<unknown>>> {
  /** A few sentences that follow the summary in the help. */
  readonly about?: string;
  /** Positional arguments, in order. */
  readonly args?: Args;
  readonly flags: Flags;
  /** Overrides the default meanings in EXIT_CODES. */
  readonly exitCodes?: Readonly<Partial<Record<ExitCode, string>>>;
  /** Environment variables that have no corresponding flag. */
  readonly env?: Readonly<Record<string, string>>;
  /** Example command lines, complete and ready to run. */
  readonly examples: readonly [string, ...string[]];
  /** Documentation page, as a path relative to the repository root. */
  readonly page: string;
  /**
   * Runs the command. Returns either an answer, which is printed in the format of `--output`, or an exit code. Throws
   * on failure.
   */
  readonly run: (
    options: OptionsOf<Args & Flags>,
  ) => Answer | ExitCode | void | Promise<Answer | ExitCode | undefined> | Promise<void>;
}

type AnyDefinition = CommandDefinition<Inputs<Argument<unknown>>, Inputs<Flag<unknown>>>;

/** A definition with its specific types erased, as the rest of the program uses it. */
export interface Command extends Required<Omit<AnyDefinition, 'about' | 'examples' | 'run'>> {
  readonly about?: string;
  readonly examples: readonly string[];
  readonly run: (options: never) => ReturnType<AnyDefinition['run']>;
}

/** Flag values by option name, in the form in which they would be typed on the command line. */
export type ConfigValues = Readonly<Record<string, readonly string[] | boolean>>;

/**
 * Defines a command, and infers the types of its options from the flags and arguments.
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
