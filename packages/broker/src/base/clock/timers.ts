/** Waits that can end early and never reject. They use the global timers, so that tests can advance them. */

/**
 * Waits until the time has passed or the signal aborts.
 * @param ms milliseconds
 */
export function pause(ms: number, signal: AbortSignal, { ref }: { ref: boolean } = { ref: true }): Promise<void> {
  return new Promise((resolve) => {
    const done = (): void => {
      clearTimeout(timer);
      signal.removeEventListener('abort', done);
      resolve();
    };
    const timer = setTimeout(done, ms);
    if (!ref) timer.unref();
    if (signal.aborted) done();
    else signal.addEventListener('abort', done);
  });
}

const FIRST_PAUSE_MS = 250;
const LONGEST_PAUSE_MS = 15_000;

/**
 * Returns how long to pause after a failure: twice as long each time, with jitter.
 * @param failures earlier failures in a row
 * @param random random number from 0 to 1
 * @returns milliseconds
 */
export function backoff(failures: number, random: () => number): number {
  return Math.min(LONGEST_PAUSE_MS, FIRST_PAUSE_MS * 2 ** failures) * (0.5 + random() / 2);
}
