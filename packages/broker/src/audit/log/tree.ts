/**
 * Builds the Merkle tree over the rows (RFC 6962 section 2.1). It only keeps the state needed to append rows, which
 * consists of the roots of the complete subtrees. A billion rows have at most thirty of them.
 */
import { hash as digest } from 'node:crypto';
import { GENESIS_HASH } from './chain.ts';

/**
 * The state before the next row: the number of previous rows, the hash of the last row, and the tree over all of them.
 */
export interface LogState {
  readonly size: number;
  /** The roots of the complete subtrees in hex, largest first. */
  readonly peaks: readonly string[];
  readonly hash: string;
}

export const EMPTY_LOG_STATE: LogState = { size: 0, peaks: [], hash: GENESIS_HASH };

/**
 * Creates a tree that continues from a given state.
 * @param from the state, which must have as many peaks as its size has set bits; see `isLogState`
 */
export function createLogTree(from: LogState = EMPTY_LOG_STATE) {
  let { size, hash } = from;
  const peaks = [...from.peaks];
  return {
    size: () => size,
    /**
     * Appends a row to the tree.
     * @param leaf the hash of the row in hex, which is its leaf hash
     */
    append: (leaf: string) => {
      peaks.push(leaf);
      hash = leaf;
      size += 1;
      for (let n = size; n % 2 === 0; n /= 2) {
        const right = peaks.pop()!;
        peaks.push(node(peaks.pop()!, right));
      }
    },
    /** Returns the root hash in hex. */
    root: () => treeRootHash(peaks),
    state: (): LogState => ({ size, peaks: [...peaks], hash }),
  };
}

/** Returns the root hash over the peaks, in hex. */
export function treeRootHash(peaks: readonly string[]): string {
  return peaks.length === 0 ? digest('sha256', '', 'hex') : peaks.reduceRight((right, left) => node(left, right));
}

/** Whether a state is consistent. This has to be checked, because it may come from a file. */
export function isLogState({ size, peaks }: LogState): boolean {
  let bits = 0;
  for (let n = size; n > 0; n = Math.floor(n / 2)) bits += n % 2;
  return Number.isSafeInteger(size) && size >= 0 && peaks.length === bits && peaks.every((peak) => HASH.test(peak));
}

const HASH = /^[0-9a-f]{64}$/;

function node(left: string, right: string): string {
  return digest('sha256', Buffer.from(`01${left}${right}`, 'hex'), 'hex');
}
