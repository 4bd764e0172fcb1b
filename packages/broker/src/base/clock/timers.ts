/** Waits that can end early and never reject. They use the global timers, which tests can fake. */

/**
 * Waits until the duration has passed or the signal aborts.
 * @param ms duration, milliseconds
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
