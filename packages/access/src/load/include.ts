/**
 * Includes: several files that form one access file. Paths are relative to the including file and stay inside the first
 * file's directory. Each file is read once.
 */
import { posix } from 'node:path';
import type { Place } from '@meshpass/istio';
import { type AccessFileProblem, formatPlace, problemAt } from '../problem.ts';

/** Maximum include depth, excluding the root file. */
const MAX_INCLUDE_DEPTH = 4;
export const MAX_FILES = 100;
/** Maximum size of all files together, bytes. */
const MAX_TOTAL_BYTES = 1024 * 1024;

/**
 * Reads an included file.
 * @param path relative to the directory of the first file, normalised, never outside of it
 * @returns the text, or the reason why it cannot be read
 */
export type ReadIncluded = (path: string) => { readonly text: string } | { readonly problem: string };

interface Included {
  readonly path: string;
  readonly text: string;
}

/** Files read so far for one access file. */
export class IncludeTree {
  readonly #read: ReadIncluded;
  readonly #seen = new Map<string, Place | undefined>();
  #bytes: number;

  constructor(first: Included, read: ReadIncluded) {
    this.#read = read;
    this.#seen.set(first.path, undefined);
    this.#bytes = Buffer.byteLength(first.text);
  }

  get files(): readonly string[] {
    return [...this.#seen.keys()];
  }

  /**
   * Opens an included file.
   * @param wanted path as written
   * @param chain including files, first file first
   * @param place where the entry is
   */
  open(wanted: string, chain: readonly string[], place: Place): Included | AccessFileProblem {
    const problem = (message: string) => problemAt(place, message);
    const refusal = whyNoPath(wanted);
    if (refusal) return problem(`${JSON.stringify(wanted)} ${refusal}`);
    const path = posix.join(posix.dirname(chain.at(-1)!), wanted);
    if (path === '..' || path.startsWith('../')) {
      return problem(`${JSON.stringify(wanted)} is outside the directory of ${chain[0]}`);
    }
    if (chain.includes(path)) return problem(`${[...chain, path].join(' -> ')}: the includes form a loop`);
    if (this.#seen.has(path)) {
      const earlier = this.#seen.get(path);
      return problem(`${path} is already included${earlier ? `, at ${formatPlace(earlier)}` : ''}`);
    }
    if (chain.length > MAX_INCLUDE_DEPTH)
      return problem(`${path} is nested more than ${MAX_INCLUDE_DEPTH} includes deep`);
    if (this.#seen.size >= MAX_FILES) return problem(`${path} exceeds the limit of ${MAX_FILES} files`);
    this.#seen.set(path, place);
    const found = this.#read(path);
    if ('problem' in found) return problem(`${path} ${found.problem}`);
    this.#bytes += Buffer.byteLength(found.text);
    if (this.#bytes > MAX_TOTAL_BYTES) return problem(`${path} pushes the total size of all files above 1 MiB`);
    return { path, text: found.text };
  }
}

function whyNoPath(path: string): string | undefined {
  if (posix.isAbsolute(path) || /^[A-Za-z]:/.test(path)) return 'is an absolute path: use a path relative to this file';
  if (path.includes('\\')) return 'contains a backslash: use / between directories';
  if (/\p{Cc}/u.test(path)) return 'contains a control character';
  if (path.includes('*')) return 'is a pattern: list each file by name';
  return /\.ya?ml$/.test(path) ? undefined : 'does not end in .yaml or .yml';
}
