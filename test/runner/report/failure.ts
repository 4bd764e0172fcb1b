/** Describes a failure where it happens: the error, and what is needed to understand and to repeat it. */
import type { PartLog } from '../part-logs.ts';
import { paint } from './lines.ts';

/** An error as Vitest passes it from a worker. */
export interface FailureError {
  readonly name?: string;
  readonly message: string;
  readonly diff?: string;
  readonly stack?: string;
  readonly stacks?: readonly {
    readonly method: string;
    readonly file: string;
    readonly line: number;
    readonly column: number;
  }[];
  readonly cause?: FailureError;
}

export interface Failure {
  /** File and full test name. */
  readonly title: string;
  readonly errors: readonly FailureError[];
  readonly seeds: readonly string[];
  /** Load averages of 1, 5 and 15 minutes. */
  readonly load: readonly number[];
  readonly processors: number;
  readonly parts: readonly PartLog[];
  readonly repeat: string;
}

const MAX_CAUSES = 5;

/** @param root the repository, with a slash at the end: stack frames outside it, or in dependencies, are left out */
export function describeFailure(failure: Failure, root: string): string[] {
  const load = failure.load.map((value) => value.toFixed(1)).join(', ');
  return [
    paint(['red', 'bold'], `FAILED  ${failure.title}`),
    ...failure.errors.flatMap((error) => indent(errorLines(error, root))),
    ...failure.seeds.map((seed) => `  seed: ${seed}`),
    `  load: ${load} (1, 5, 15 min) on ${failure.processors} processors`,
    ...failure.parts.flatMap(({ name, lines }) => [`  log of ${name}:`, ...indent(indent(lines))]),
    `  repeat: ${failure.repeat}`,
    '',
  ];
}

/** Returns the error and its causes, each with its diff and the frames in the repository. */
export function errorLines(error: FailureError, root: string, depth = 0): string[] {
  const lines = [
    ...`${error.name ?? 'Error'}: ${error.message}`.split('\n'),
    ...(error.diff ? error.diff.trim().split('\n') : []),
    ...frames(error, root),
  ];
  if (!error.cause || depth >= MAX_CAUSES) return lines;
  const [first, ...rest] = errorLines(error.cause, root, depth + 1);
  return [...lines, `caused by ${first}`, ...rest];
}

function frames({ stacks = [] }: FailureError, root: string): string[] {
  return stacks
    .filter(({ file }) => file.startsWith(root) && !file.includes('/node_modules/'))
    .map(({ method, file, line, column }) => {
      const place = `${file.slice(root.length)}:${line}:${column}`;
      return `  at ${method ? `${method} (${place})` : place}`;
    });
}

function indent(lines: readonly string[]): string[] {
  return lines.map((line) => (line === '' ? '' : `  ${line}`));
}
