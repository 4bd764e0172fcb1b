/**
 * Schedules which agents are sent a configuration. Only a few receive one at the same time, because the edge keeps its
 * bytes in memory until the agent has read them. A slow reader soon loses its place and continues beside the others.
 * Slow readers are also limited, and the source with the most of them loses one first. A session that reads therefore
 * never waits for one that does not.
 */

export interface Reader {
  readonly sessionId: string;
  /** Source network. */
  readonly source: string;
  /** Destroys the connection. */
  readonly cut: () => void;
}

export interface Places<One extends Reader> {
  /** Sends when it is the reader's turn. A later request replaces a waiting one. */
  wait(reader: One, send: Send): void;
}

/**
 * Sends a configuration. Resolves when it was read completely or the reader is gone. Never rejects.
 * @param began called with the number of bytes once sending starts. Any earlier delay is not the reader's fault
 */
export type Send = (began: (bytes: number) => void) => Promise<void>;

/** Maximum readers with a place. */
const AT_ONCE = 16;
/** Maximum places per source, so that other sources always find one. */
const PER_SOURCE = 12;
/** How long a reader keeps its place, ms. */
const PATIENCE_MS = 2_000;
/** Maximum number of slow readers, and of their bytes. */
const MAX_SLOW = 32;
const MAX_SLOW_BYTES = 64 * 1024 * 1024;
/** How long a slow session stays last in line, ms. */
const LAST_MS = 60_000;
const MAX_REMEMBERED = 4_096;

/**
 * Creates the schedule.
 * @param clock ms
 */
export function createPlaces<One extends Reader>(clock: () => number = () => performance.now()): Places<One> {
  const turns = new Map<One, Send>();
  /** Readers with a place, and the timer that ends it. No timer runs before sending starts. */
  const placed = new Map<One, NodeJS.Timeout | undefined>();
  /** Slow readers, in the order in which they lost their place. */
  const slow = new Map<One, number>();
  /** Sessions that were slow, and until when they come last. */
  const last = new Map<string, number>();
  return {
    wait(reader, send) {
      turns.set(reader, send);
      next();
    },
  };

  function next(): void {
    while (placed.size < AT_ONCE) {
      const reader = choose();
      if (!reader) return;
      const send = turns.get(reader)!;
      turns.delete(reader);
      placed.set(reader, undefined);
      const began = (bytes: number) => {
        placed.set(reader, setTimeout(() => losePlace(reader, bytes), PATIENCE_MS).unref());
      };
      void send(began).finally(() => leave(reader));
    }
  }

  /** Returns the first reader that may be sent to. A formerly slow session comes last. */
  function choose(): One | undefined {
    const bySource = new Map<string, number>();
    for (const { source } of placed.keys()) bySource.set(source, (bySource.get(source) ?? 0) + 1);
    let late: One | undefined;
    for (const reader of turns.keys()) {
      // Each connection is sent its configurations one at a time.
      if (placed.has(reader) || slow.has(reader) || (bySource.get(reader.source) ?? 0) >= PER_SOURCE) continue;
      if ((last.get(reader.sessionId) ?? 0) <= clock()) return reader;
      late ??= reader;
    }
    return late;
  }

  function leave(reader: One): void {
    clearTimeout(placed.get(reader));
    placed.delete(reader);
    slow.delete(reader);
    next();
  }

  function losePlace(reader: One, bytes: number): void {
    placed.delete(reader);
    slow.set(reader, bytes);
    last.delete(reader.sessionId);
    last.set(reader.sessionId, clock() + LAST_MS);
    if (last.size > MAX_REMEMBERED) last.delete(last.keys().next().value!);
    makeRoom();
    next();
  }

  function makeRoom(): void {
    const total = () => [...slow.values()].reduce((sum, bytes) => sum + bytes, 0);
    while (slow.size > 1 && (slow.size > MAX_SLOW || total() > MAX_SLOW_BYTES)) {
      const [source] = [...Map.groupBy(slow.keys(), (one) => one.source)].toSorted(
        ([, a], [, b]) => b.length - a.length,
      )[0]!;
      const [oldest] = [...slow.keys()].filter((one) => one.source === source);
      slow.delete(oldest!);
      oldest!.cut();
    }
  }
}
