/** Timers that keep no process alive and end together. */

/** Resolves after so many milliseconds, or sooner when it is aborted or stopped. */
export type Wait = (ms: number, signal?: AbortSignal) => Promise<void>;

export interface Timers {
  readonly wait: Wait;
  /** Ends all that run. */
  readonly stop: () => void;
}

export function createTimers(): Timers {
  const running = new Set<() => void>();
  return {
    wait: (ms, signal) =>
      new Promise<void>((resolve) => {
        const end = () => {
          clearTimeout(timer);
          running.delete(end);
          signal?.removeEventListener('abort', end);
          resolve();
        };
        const timer = setTimeout(end, ms).unref();
        running.add(end);
        if (signal?.aborted) end();
        else signal?.addEventListener('abort', end);
      }),
    stop: () => {
      for (const end of [...running]) end();
    },
  };
}

/** Waits, but no longer than the signal lets it; never rejects. @param ms milliseconds */
export function pause(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const done = (): void => {
      clearTimeout(timer);
      signal.removeEventListener('abort', done);
      resolve();
    };
    const timer = setTimeout(done, ms);
    if (signal.aborted) done();
    else signal.addEventListener('abort', done);
  });
}
