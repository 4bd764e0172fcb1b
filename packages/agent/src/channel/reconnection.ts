/** Pauses between connection attempts. They grow, have jitter, and are cut short when the broker responds. */

export type Reconnection = ReturnType<typeof createReconnectTimer>;

export interface ReconnectionOptions {
  /** Ends the current pause and all later ones. */
  readonly signal: AbortSignal;
  /** Returns a random number between 0 and 1 for jitter. */
  readonly random: () => number;
}

const BACKOFF_MS = { first: 250, most: 15_000 } as const;
/**
 * Maximum time from a broker response to the next attempt, ms. All agents notice at the same time that a broker has
 * recovered. The broker answers them one by one, so the edge receives connections no faster than the broker responds.
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
     * Waits until the next attempt is due. Never rejects.
     * @param afresh whether the previous attempt delivered anything. If so, the pause starts over at its minimum
     */
    pause(afresh: boolean): Promise<void> {
      // A response from the broker does not reset the backoff, because it says nothing about the edge.
      backoff = afresh ? BACKOFF_MS.first : Math.min(BACKOFF_MS.most, backoff * 2);
      isWoken = false;
      return new Promise((resolve) => {
        over = resolve;
        if (signal.aborted) end();
        else endIn(backoff * (0.5 + random()));
      });
    },
    /** Reports that the broker has responded over HTTPS. The current pause then ends soon. */
    wake() {
      // Allows one early attempt per pause, however many responses arrive.
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
