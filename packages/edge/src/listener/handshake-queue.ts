/**
 * Starts handshakes a few at a time, and takes turns between sources. A handshake costs up to a millisecond of CPU
 * time, even if the client has no valid SVID. If many handshakes from a busy source started at once, they would delay
 * other sources and block open tunnels. The number of handshakes in progress is not limited here (see decision 0014).
 */

/**
 * Creates the handshake queue.
 * @param atOnce the maximum number of items that are started per turn of the event loop
 * @param start starts the handshake and returns whether its connection still existed. An item whose connection is
 *   gone does not use up a turn. The function must not throw
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
    /** Starts the item right away, or when its source's turn comes. */
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

  /**
   * Starts the source's first item whose connection still exists, and moves the rest behind the items of other sources.
   */
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
