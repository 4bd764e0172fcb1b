/**
 * The Merkle tree over the rows (RFC 6962 section 2.1), as far as it is needed to go on: the roots of its complete subtrees.
 * A thousand million rows leave thirty of them.
 */
import { hash as digest } from 'node:crypto';

/** A tree of this size, and all there is to know of it in order to append. */
export interface Frontier {
  readonly size: number;
  /** Roots of the complete subtrees, the largest first, hex. */
  readonly peaks: readonly string[];
}

export interface Tree {
  readonly size: () => number;
  /** @param leaf hash of the leaf, hex */
  readonly append: (leaf: string) => void;
  /** Hex. */
  readonly root: () => string;
  readonly frontier: () => Frontier;
}

export const EMPTY: Frontier = { size: 0, peaks: [] };

/** @param from has as many peaks as its size has bits set: see isFrontier */
export function growTree(from: Frontier = EMPTY): Tree {
  let size = from.size;
  const peaks = [...from.peaks];
  return {
    size: () => size,
    append: (leaf) => {
      peaks.push(leaf);
      size += 1;
      for (let n = size; n % 2 === 0; n /= 2) {
        const right = peaks.pop()!;
        peaks.push(node(peaks.pop()!, right));
      }
    },
    root: () => rootOf(peaks),
    frontier: () => ({ size, peaks: [...peaks] }),
  };
}

export function rootOf(peaks: readonly string[]): string {
  return peaks.length === 0 ? digest('sha256', '', 'hex') : peaks.reduceRight((right, left) => node(left, right));
}

/** Whether this can be a frontier at all: it may come from a file. */
export function isFrontier({ size, peaks }: Frontier): boolean {
  let bits = 0;
  for (let n = size; n > 0; n = Math.floor(n / 2)) bits += n % 2;
  return Number.isSafeInteger(size) && size >= 0 && peaks.length === bits && peaks.every((peak) => HASH.test(peak));
}

const HASH = /^[0-9a-f]{64}$/;

function node(left: string, right: string): string {
  return digest('sha256', Buffer.from(`01${left}${right}`, 'hex'), 'hex');
}
