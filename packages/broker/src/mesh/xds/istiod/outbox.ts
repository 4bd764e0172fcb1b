/** Queue of messages for a stream, as the async iterable that Connect reads. */

export interface Outbox<T> {
  readonly push: (message: T) => void;
  readonly end: () => void;
  readonly messages: AsyncIterable<T>;
}

/**
 * Creates an empty queue.
 * @param signal ends the queue
 */
export function createOutbox<T>(signal: AbortSignal): Outbox<T> {
  const waiting: T[] = [];
  let ended = false;
  let wake: (() => void) | undefined;
  const end = () => {
    ended = true;
    wake?.();
  };
  signal.addEventListener('abort', end, { once: true });
  async function* read(): AsyncGenerator<T> {
    while (!ended) {
      const next = waiting.shift();
      if (next !== undefined) {
        yield next;
        continue;
      }
      await new Promise<void>((resolve) => {
        wake = resolve;
      });
    }
    signal.removeEventListener('abort', end);
  }
  return {
    push: (message) => {
      waiting.push(message);
      wake?.();
    },
    end,
    messages: read(),
  };
}
