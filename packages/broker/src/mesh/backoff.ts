/** Computes durations with jitter, so that many brokers and streams do not act at the same time. */

const FIRST_PAUSE_MS = 250;
const LONGEST_PAUSE_MS = 15_000;

/**
 * Returns the pause before another attempt to reach Kubernetes or istiod. It doubles with each consecutive failure, and
 * has jitter.
 * @param failures number of consecutive earlier failures
 * @returns pause, milliseconds
 */
export function backoff(failures: number, longestMs = LONGEST_PAUSE_MS): number {
  return jittered(Math.min(longestMs, FIRST_PAUSE_MS * 2 ** failures));
}

/** Shortens a duration by up to half. */
export function jittered(ms: number): number {
  return ms * (0.5 + Math.random() / 2);
}
