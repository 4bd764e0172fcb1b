/** Pauses between connection attempts. They grow, have jitter, and are cut short by a response from the broker. */

export type Reconnection = ReturnType<typeof createReconnectTimer>;

export interface ReconnectionOptions {
  /** Ends every pause. */
  readonly signal: AbortSignal;
  /** Random number from 0 to 1 for jitter. */
  readonly random: () => number;
}

const BACKOFF_MS = { first: 250, most: 15_000 } as const;
/**
 * Maximum time from a broker response to the next attempt, ms. All agents notice a recovered broker at once, but it
 * answers them one by one, so the edge receives connections no faster than the broker responds.
 */
const WAKE_MS = 1_000;

/** Creates the timer for connection attempts, with exponential backoff and jitter. */
export function createReconnectTimer({ signal, random }: ReconnectionOptions) {
  let backoff: number = BACKOFF_MS.first;
  let timer: NodeJS.Timeout | undefined;
  let over: (() => void) | undefined;
  let isWoken = false;
  let endsAt = 0;
  signal.addEventListener('abort', end);
  return {
    /**
     * Waits before the next attempt; never rejects.
     * @param afresh whether the previous attempt delivered anything, which resets the pause to the first one
     */
    pause(afresh: boolean): Promise<void> {
      // A broker response does not reset the backoff, because it proves nothing about the edge.
      backoff = afresh ? BACKOFF_MS.first : Math.min(BACKOFF_MS.most, backoff * 2);
      isWoken = false;
      return new Promise((resolve) => {
        over = resolve;
        if (signal.aborted) end();
        else endIn(backoff * (0.5 + random()));
      });
    },
    /** Reports that the broker responded over HTTPS, which soon ends the current pause. */
    wake() {
      // One attempt per pause, however many responses arrive.
      if (!over || isWoken) return;
      isWoken = true;
      endIn(Math.min(WAKE_MS * random(), endsAt - performance.now()));
    },
  };

  function endIn(ms: number): void {
    clearTimeout(timer);
    endsAt = performance.now() + ms;
    timer = setTimeout(end, ms).unref();
  }

  function end(): void {
    clearTimeout(timer);
    over?.();
    over = undefined;
  }
}
