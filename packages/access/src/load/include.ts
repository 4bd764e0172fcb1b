/**
 * Several files that are one access file. Paths are relative to the file that includes and stay inside the directory of
 * the first one; each file is read once.
 */
import { posix } from 'node:path';
import type { Place } from '@meshpass/istio';
import { type AccessFileProblem, formatPlace } from '../problem.ts';

/** Files inside each other, the first one not counted. */
export const MAX_INCLUDE_DEPTH = 4;
export const MAX_FILES = 100;
/** Of all files together. */
export const MAX_TOTAL_BYTES = 4 * 1024 * 1024;

/**
 * Gives the text of a file.
 * @param path relative to the directory of the first file, normalised, never leading out of it
 * @returns why it cannot be read, in words, instead of throwing
 */
export type ReadIncluded = (path: string) => { readonly text: string } | { readonly problem: string };

export interface Included {
  readonly path: string;
  readonly text: string;
}

/** What has been read of one access file so far. */
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
   * Opens what a file includes.
   * @param wanted as it is written
   * @param chain the files that led here, the first one first
   * @param place of the entry
   */
  open(wanted: string, chain: readonly string[], place: Place): Included | AccessFileProblem {
    const problem = (message: string): AccessFileProblem => ({ code: 'access_file_invalid', place, message });
    const refusal = whyNoPath(wanted);
    if (refusal) return problem(`${JSON.stringify(wanted)} ${refusal}`);
    const path = posix.join(posix.dirname(chain.at(-1)!), wanted);
    if (path === '..' || path.startsWith('../')) {
      return problem(`${JSON.stringify(wanted)} leads out of the directory of ${chain[0]}`);
    }
    if (chain.includes(path)) return problem(`${[...chain, path].join(' -> ')}: files include each other in a circle`);
    if (this.#seen.has(path)) {
      const earlier = this.#seen.get(path);
      return problem(`${path} is included already${earlier ? `, at ${formatPlace(earlier)}` : ''}`);
    }
    if (chain.length > MAX_INCLUDE_DEPTH) return problem(`${path} is included deeper than ${MAX_INCLUDE_DEPTH} files`);
    if (this.#seen.size >= MAX_FILES) return problem(`${path} is one more than the ${MAX_FILES} files that are taken`);
    this.#seen.set(path, place);
    const found = this.#read(path);
    if ('problem' in found) return problem(`${path} ${found.problem}`);
    this.#bytes += Buffer.byteLength(found.text);
    if (this.#bytes > MAX_TOTAL_BYTES) return problem(`${path} makes all files together larger than 4 MiB`);
    return { path, text: found.text };
  }
}

function whyNoPath(path: string): string | undefined {
  if (posix.isAbsolute(path) || /^[A-Za-z]:/.test(path)) return 'is absolute: write it relative to this file';
  if (path.includes('\\')) return 'has a backslash: write / between directories';
  if (/\p{Cc}/u.test(path)) return 'has a control character';
  if (path.includes('*')) return 'is a pattern: files are named one by one';
  return /\.ya?ml$/.test(path) ? undefined : 'is no YAML file by its name';
}
