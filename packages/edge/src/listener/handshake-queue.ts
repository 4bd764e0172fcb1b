/**
 * Starts handshakes a few at a time, and takes sources in turn. A handshake costs up to a millisecond of CPU, even
 * without a valid SVID. If many handshakes from a busy source started at once, they would delay other sources and block
 * open tunnels. Handshakes in progress are not limited here, see decision 0014.
 */

/**
 * Creates the queue.
 * @param atOnce maximum number of items started per turn of the event loop
 * @param start starts the handshake and returns whether its connection still existed. An item that has disappeared does
 *   not use up a turn. Must not throw
 * @param later runs a function in the next turn of the event loop
 */
export function createHandshakeQueue<Item>(
  atOnce: number,
  start: (item: Item) => boolean,
  later: (run: () => void) => void = setImmediate,
) {
  const queues = new Map<string, Item[]>();
  let waiting = 0;
  let left = atOnce;
  let scheduled = false;
  return {
    /** Starts the item now, or when it is its source's turn. */
    add(source: string, item: Item) {
      if (left > 0 && waiting === 0) begin(item);
      else {
        const queue = queues.get(source);
        if (queue) queue.push(item);
        else queues.set(source, [item]);
        waiting++;
      }
      schedule();
    },
    get waiting() {
      return waiting;
    },
  };

  function begin(item: Item): boolean {
    const begun = start(item);
    if (begun) left--;
    return begun;
  }

  function schedule(): void {
    if (scheduled) return;
    scheduled = true;
    later(next);
  }

  function next(): void {
    scheduled = false;
    left = atOnce;
    while (left > 0 && waiting > 0) {
      for (const [source, queue] of queues) {
        if (left === 0) break;
        takeTurn(source, queue);
      }
    }
    if (waiting > 0) schedule();
  }

  /** Starts the source's first item that still exists, and queues the remaining ones behind those of other sources. */
  function takeTurn(source: string, queue: Item[]): void {
    queues.delete(source);
    let begun = false;
    while (!begun && queue.length > 0) {
      waiting--;
      begun = begin(queue.shift()!);
    }
    if (queue.length > 0) queues.set(source, queue);
  }
}
