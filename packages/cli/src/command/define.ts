/**
 * A command is defined by a single object that contains its flags, help and action. The option types, the help, the
 * parser (build.ts), the reference (docs/cli.md) and their tests are all derived from the flags. The definition is
 * plain data, rather than calls to commander's typed builder, so that shared flags can be spread, listed and
 * documented. Commander still does the parsing.
 */
import type { Argument, Flag, OptionsOf } from './flag.ts';
import type { Answer, ExitCode } from './outcome.ts';

type Inputs<Kind> = Readonly<Record<string, Kind>>;

export interface CommandDefinition<Args extends Inputs<Argument<unknown>>, Flags extends Inputs<Flag<unknown>>> {
  /** A few sentences that the help shows after the summary. */
  readonly about?: string;
  /** The positional arguments, in the order in which they are expected. */
  readonly args?: Args;
  readonly flags: Flags;
  /** Overrides the default meanings in EXIT_CODES. */
  readonly exitCodes?: Readonly<Partial<Record<ExitCode, string>>>;
  /** Environment variables that have no corresponding flag. */
  readonly env?: Readonly<Record<string, string>>;
  /** Complete example command lines that can be run without changes. */
  readonly examples: readonly [string, ...string[]];
  /** The path of the documentation page, relative to the root of the repository. */
  readonly page: string;
  /**
   * Runs the command and returns either an answer to print in the format given by `--output`, or an exit code. Throws
   * if the command fails.
   */
  readonly run: (
    options: OptionsOf<Args & Flags>,
  ) => Answer | ExitCode | void | Promise<Answer | ExitCode | undefined> | Promise<void>;
}

type AnyDefinition = CommandDefinition<Inputs<Argument<unknown>>, Inputs<Flag<unknown>>>;

/** A command definition whose specific types have been erased, for use by the rest of the program. */
export interface Command extends Required<Omit<AnyDefinition, 'about' | 'examples' | 'run'>> {
  readonly about?: string;
  readonly examples: readonly string[];
  readonly run: (options: never) => ReturnType<AnyDefinition['run']>;
}

/**
 * Defines a command and infers the types of its options from its flags and arguments.
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
