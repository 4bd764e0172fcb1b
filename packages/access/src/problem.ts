/** Problems in an access file. All of them are reported at once, each with its place in the file. */
import { type ErrorCode, MeshpassError } from '@meshpass/identity';
import type { Place } from '@meshpass/istio';

export interface AccessFileProblem {
  readonly code: ErrorCode;
  readonly place: Place;
  readonly message: string;
}

/** The result of parsing a string: either its value, or the reason why it is invalid. */
export type Parsed<T> = { readonly value: T } | { readonly code: ErrorCode; readonly message: string };

/** Creates a problem for text that is malformed. */
export function malformedText(message: string): { readonly code: ErrorCode; readonly message: string } {
  return { code: 'access_file_invalid', message };
}

/**
 * Creates a problem for text that does not have the expected form.
 * @param form the name of the form and, after a colon, how to write it
 */
export function notValid(text: string, form: string): { readonly code: ErrorCode; readonly message: string } {
  return malformedText(`${JSON.stringify(text)} is not a valid ${form}`);
}

/** Creates a problem for a pattern that could match more than its author intended. */
export function unanchoredPattern(message: string): { readonly code: ErrorCode; readonly message: string } {
  return { code: 'access_file_pattern_unanchored', message };
}

/** Creates a problem for an entry that is well formed but is not allowed where it appears. */
export function problemAt(place: Place, message: string): AccessFileProblem {
  return { code: 'access_file_invalid', place, message };
}

const LISTED = 100;

/**
 * Formats a place in a file, as in `access.yaml:12:7`.
 * @example
 * ```ts
 * import { formatPlace } from '@meshpass/access';
 * formatPlace({ file: 'access.yaml', line: 12, column: 7 }); // => 'access.yaml:12:7'
 * ```
 */
export function formatPlace(place: Place): string {
  return `${place.file}:${place.line}:${place.column}`;
}

/**
 * Combines all problems into a single error, sorted by position. The error has the code of the first problem, and lists
 * all of them in `detail.problems`.
 * @param problems the problems, at least one
 */
export function accessFileError(problems: readonly AccessFileProblem[]): MeshpassError {
  // Keep the files in the order in which they were read.
  const files = [...new Set(problems.map(({ place }) => place.file))];
  const ordered = problems.toSorted(
    ({ place: a }, { place: b }) =>
      files.indexOf(a.file) - files.indexOf(b.file) || a.line - b.line || a.column - b.column,
  );
  const lines = ordered.slice(0, LISTED).map(({ place, message }) => `${formatPlace(place)} ${message}`);
  if (ordered.length > LISTED) lines.push(`and ${ordered.length - LISTED} more`);
  return new MeshpassError(ordered[0]!.code, lines.join('\n'), { detail: { problems: ordered } });
}
