/** Queue of messages for a stream, as the async iterable that Connect reads. */

/**
 * Creates an empty queue.
 * @param signal ends the queue
 */
export function createOutbox<T>(signal: AbortSignal) {
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
    push: (message: T) => {
      waiting.push(message);
      wake?.();
    },
    end,
    messages: read(),
  };
}
