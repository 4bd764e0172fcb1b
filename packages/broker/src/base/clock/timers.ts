/**
 * Provides waits that can be cut short and that never reject. They use the global timers so that tests can fake them.
 */

/**
 * Waits until the given duration has passed or the signal is aborted.
 * @param ms how long to wait, in milliseconds
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
