/**
 * Starts handshakes a few at a time, one of each source in turn. A handshake costs up to a millisecond of CPU, whether or not
 * an SVID comes of it: what waits from a source that sends many must not stand before the others, nor all at once before
 * open tunnels. Handshakes under way are not bounded here, see decision 0014.
 */

export interface Turns<Item> {
  /** Starts it now, or when its source's turn comes. */
  add(source: string, item: Item): void;
  readonly waiting: number;
}

/**
 * @param atOnce most that are started between two looks at the sockets
 * @param start begins the handshake, and says whether there was one to begin: what is gone meanwhile takes nobody's turn. It
 *   must not throw
 * @param later runs a function once the sockets have been looked at
 */
export function createTurns<Item>(
  atOnce: number,
  start: (item: Item) => boolean,
  later: (run: () => void) => void = setImmediate,
): Turns<Item> {
  const queues = new Map<string, Item[]>();
  let waiting = 0;
  let left = atOnce;
  let scheduled = false;
  return {
    add(source, item) {
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
        // Behind the others, until its next turn.
        queues.delete(source);
        let begun = false;
        while (!begun && queue.length > 0) {
          waiting--;
          begun = begin(queue.shift()!);
        }
        if (queue.length > 0) queues.set(source, queue);
      }
    }
    if (waiting > 0) schedule();
  }
}
