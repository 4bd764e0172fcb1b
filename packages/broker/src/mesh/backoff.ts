/** Computes the pause between attempts to reach Kubernetes or istiod. */

const FIRST_PAUSE_MS = 250;
const LONGEST_PAUSE_MS = 15_000;

/**
 * Returns the pause after a failure. It doubles with each consecutive failure, with jitter.
 * @param failures number of consecutive earlier failures
 * @returns pause, milliseconds
 */
export function backoff(failures: number): number {
  return Math.min(LONGEST_PAUSE_MS, FIRST_PAUSE_MS * 2 ** failures) * (0.5 + Math.random() / 2);
}
