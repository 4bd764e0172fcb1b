/** The pauses between two attempts to connect: longer each time, with jitter, and cut short by an answer of the broker. */

export interface Reconnection {
  /**
   * Waits before the next attempt; never rejects.
   * @param afresh the attempt before brought something: the first pause again
   */
  pause(afresh: boolean): Promise<void>;
  /** The broker has answered over HTTPS: the pause of this moment, if there is one, ends soon. */
  wake(): void;
}

export interface ReconnectionOptions {
  /** Ends every pause. */
  readonly signal: AbortSignal;
  /** 0 to 1, for the jitter. */
  readonly random: () => number;
}

const BACKOFF_MS = { first: 250, most: 15_000 } as const;
/**
 * Longest from an answer of the broker to the attempt that comes of it, ms. All agents find out at once that a broker is back, but it
 * answers one after the other: as many connections come to the edge as the broker gives answers, and no more.
 */
const WAKE_MS = 1_000;

export function createReconnection({ signal, random }: ReconnectionOptions): Reconnection {
  let backoff: number = BACKOFF_MS.first;
  let timer: NodeJS.Timeout | undefined;
  let over: (() => void) | undefined;
  let isWoken = false;
  let endsAt = 0;
  signal.addEventListener('abort', end);
  return {
    pause(afresh) {
      // An answer does not make it shorter: it says nothing of the edge.
      backoff = afresh ? BACKOFF_MS.first : Math.min(BACKOFF_MS.most, backoff * 2);
      isWoken = false;
      return new Promise((resolve) => {
        over = resolve;
        if (signal.aborted) end();
        else endIn(backoff * (0.5 + random()));
      });
    },
    wake() {
      // One attempt, however many answers come before it.
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
