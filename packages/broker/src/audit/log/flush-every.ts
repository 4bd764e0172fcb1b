/** What is counted is written from time to time, and once more when the broker stops. */

/** @param ms between two times. @returns stops it, after a last time */
export function flushEvery(ms: number, flush: () => Promise<void>): () => Promise<void> {
  const timer = setInterval(flush, ms);
  timer.unref();
  return async () => {
    clearInterval(timer);
    await flush();
  };
}
