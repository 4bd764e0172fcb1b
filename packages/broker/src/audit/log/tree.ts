/**
 * Merkle tree over the rows (RFC 6962 section 2.1), reduced to the state that appending requires: the roots of its
 * complete subtrees. A billion rows have at most thirty such roots.
 */
import { hash as digest } from 'node:crypto';

/** State from which a tree can be extended. */
export interface Frontier {
  readonly size: number;
  /** Roots of the complete subtrees, largest first, hex. */
  readonly peaks: readonly string[];
}

export const EMPTY_FRONTIER: Frontier = { size: 0, peaks: [] };

/**
 * Creates a tree.
 * @param from must have as many peaks as its size has set bits: see isFrontier
 */
export function createLogTree(from: Frontier = EMPTY_FRONTIER) {
  let size = from.size;
  const peaks = [...from.peaks];
  return {
    size: () => size,
    /**
     * Appends a leaf.
     * @param leaf leaf hash, hex
     */
    append: (leaf: string) => {
      peaks.push(leaf);
      size += 1;
      for (let n = size; n % 2 === 0; n /= 2) {
        const right = peaks.pop()!;
        peaks.push(node(peaks.pop()!, right));
      }
    },
    /** Root hash, hex. */
    root: () => treeRootHash(peaks),
    frontier: () => ({ size, peaks: [...peaks] }),
  };
}

/** Returns the root hash over the peaks, hex. */
export function treeRootHash(peaks: readonly string[]): string {
  return peaks.length === 0 ? digest('sha256', '', 'hex') : peaks.reduceRight((right, left) => node(left, right));
}

/** Whether the frontier is consistent. This must be checked because it may come from a file. */
export function isFrontier({ size, peaks }: Frontier): boolean {
  let bits = 0;
  for (let n = size; n > 0; n = Math.floor(n / 2)) bits += n % 2;
  return Number.isSafeInteger(size) && size >= 0 && peaks.length === bits && peaks.every((peak) => HASH.test(peak));
}

const HASH = /^[0-9a-f]{64}$/;

function node(left: string, right: string): string {
  return digest('sha256', Buffer.from(`01${left}${right}`, 'hex'), 'hex');
}
