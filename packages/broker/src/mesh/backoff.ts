/** Computes pauses with random jitter so that a large number of brokers and streams do not all act at the same time. */

const FIRST_PAUSE_MS = 250;
const LONGEST_PAUSE_MS = 15_000;

/**
 * Returns how long to wait before trying to reach Kubernetes or istiod again. The pause doubles with each consecutive
 * failure, and jitter is applied to it.
 * @param failures the number of consecutive failures before this one
 * @returns the pause in milliseconds
 */
export function backoff(failures: number, longestMs = LONGEST_PAUSE_MS): number {
  return jittered(Math.min(longestMs, FIRST_PAUSE_MS * 2 ** failures));
}

/** Randomly shortens a duration by up to half. */
export function jittered(ms: number): number {
  return ms * (0.5 + Math.random() / 2);
}
