/** Problems in an access file. All findings are reported at once, each with its place. */
import { type ErrorCode, MeshpassError } from '@meshpass/identity';
import type { Place } from '@meshpass/istio';

export interface AccessFileProblem {
  readonly code: ErrorCode;
  readonly place: Place;
  readonly message: string;
}

/** Result of parsing a text: its value, or the reason why it is invalid. */
export type Parsed<T> = { readonly value: T } | { readonly code: ErrorCode; readonly message: string };

/** Builds the problem for text that is malformed. */
export function malformedText(message: string): { readonly code: ErrorCode; readonly message: string } {
  return { code: 'access_file_invalid', message };
}

/** Builds the problem for a pattern that could match more than its author intended. */
export function unanchoredPattern(message: string): { readonly code: ErrorCode; readonly message: string } {
  return { code: 'access_file_pattern_unanchored', message };
}

/** Builds the problem for an entry that is well formed but not allowed in its place. */
export function problemAt(place: Place, message: string): AccessFileProblem {
  return { code: 'access_file_invalid', place, message };
}

const LISTED = 100;

/**
 * Formats a place: `access.yaml:12:7`.
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
 * Builds one error from all findings, sorted by position. Its code is that of the first finding. `detail.problems`
 * contains all of them.
 * @param problems at least one problem
 */
export function accessFileError(problems: readonly AccessFileProblem[]): MeshpassError {
  // Keeps the files in the order in which they were read.
  const files = [...new Set(problems.map(({ place }) => place.file))];
  const ordered = problems.toSorted(
    ({ place: a }, { place: b }) =>
      files.indexOf(a.file) - files.indexOf(b.file) || a.line - b.line || a.column - b.column,
  );
  const lines = ordered.slice(0, LISTED).map(({ place, message }) => `${formatPlace(place)} ${message}`);
  if (ordered.length > LISTED) lines.push(`and ${ordered.length - LISTED} more`);
  return new MeshpassError(ordered[0]!.code, lines.join('\n'), { detail: { problems: ordered } });
}
