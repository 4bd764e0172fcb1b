/** What is wrong with an access file, and how it is said: every finding at once, each with its place. */
import { type ErrorCode, MeshpassError } from '@meshpass/identity';
import type { Place } from '@meshpass/istio';

export interface AccessFileProblem {
  readonly code: ErrorCode;
  readonly place: Place;
  readonly message: string;
}

/** What reading a piece of text gives: its meaning, or why it has none. */
export type Parsed<T> = { readonly value: T } | { readonly code: ErrorCode; readonly message: string };

/** A refusal of text that is simply not well-formed. */
export function invalid(message: string): { readonly code: ErrorCode; readonly message: string } {
  return { code: 'access_file_invalid', message };
}

const LISTED = 100;

/**
 * `access.yaml:12:7`.
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
 * One error for all findings, in the order of the file. Its code is that of the first; `detail.problems` has them all.
 * @param problems at least one
 */
export function accessFileError(problems: readonly AccessFileProblem[]): MeshpassError {
  // Files stay in the order in which they were met.
  const files = [...new Set(problems.map(({ place }) => place.file))];
  const ordered = problems.toSorted(
    ({ place: a }, { place: b }) =>
      files.indexOf(a.file) - files.indexOf(b.file) || a.line - b.line || a.column - b.column,
  );
  const lines = ordered.slice(0, LISTED).map(({ place, message }) => `${formatPlace(place)} ${message}`);
  if (ordered.length > LISTED) lines.push(`and ${ordered.length - LISTED} more`);
  return new MeshpassError(ordered[0]!.code, lines.join('\n'), { detail: { problems: ordered } });
}
