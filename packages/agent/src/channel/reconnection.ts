/**
 * Controls the pauses between connection attempts. The pauses grow longer, are jittered, and are cut short when the
 * broker responds.
 */

export type Reconnection = ReturnType<typeof createReconnectTimer>;

export interface ReconnectionOptions {
  /** Ends the current pause and all later ones. */
  readonly signal: AbortSignal;
  /** Returns a random number between 0 and 1, which is used for jitter. */
  readonly random: () => number;
}

const BACKOFF_MS = { first: 250, most: 15_000 } as const;
/**
 * The maximum time from a broker response to the next connection attempt, in milliseconds. All agents notice at the
 * same time that a broker has recovered. Because the broker answers them one by one, the edge receives new connections
 * no faster than the broker responds.
 */
const WAKE_MS = 1_000;

/** Creates a timer for connection attempts, with exponential backoff and jitter. */
export function createReconnectTimer({ signal, random }: ReconnectionOptions) {
  let backoff: number = BACKOFF_MS.first;
  let timer: NodeJS.Timeout | undefined;
  let over: (() => void) | undefined;
  let isWoken = false;
  let endsAt = 0;
  signal.addEventListener('abort', end);
  return {
    /**
     * Waits until the next connection attempt is due. The promise never rejects.
     * @param afresh whether the previous attempt delivered anything. If so, the pauses start over at their minimum
     */
    pause(afresh: boolean): Promise<void> {
      // A response from the broker does not reset the backoff, because it says nothing about the state of the edge.
      backoff = afresh ? BACKOFF_MS.first : Math.min(BACKOFF_MS.most, backoff * 2);
      isWoken = false;
      return new Promise((resolve) => {
        over = resolve;
        if (signal.aborted) end();
        else endIn(backoff * (0.5 + random()));
      });
    },
    /** Signals that the broker has responded over HTTPS. The current pause then ends within a second. */
    wake() {
      // Only one early attempt is allowed per pause, no matter how many responses arrive.
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
