/** Pauses between attempts to reach Kubernetes or istiod. */

const FIRST_PAUSE_MS = 250;
const LONGEST_PAUSE_MS = 15_000;

/**
 * Returns how long to pause after a failure: twice as long each time, with jitter.
 * @param failures earlier failures in a row
 * @returns milliseconds
 */
export function backoff(failures: number): number {
  return Math.min(LONGEST_PAUSE_MS, FIRST_PAUSE_MS * 2 ** failures) * (0.5 + Math.random() / 2);
}
