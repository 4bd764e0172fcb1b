/**
 * Who is sent a configuration now: a few at once, because each holds its bytes in memory until its agent has read them. Whoever does not
 * read gives its place up soon and goes on beside the others; of those there are few as well, and the source that has the most of
 * them loses one first. So a session that reads waits for none that does not.
 */

export interface Reader {
  readonly sessionId: string;
  /** Network that it comes from. */
  readonly source: string;
  /** Destroys its connection. */
  readonly cut: () => void;
}

export interface Places<One extends Reader> {
  /** Sends in its turn, and only what was asked for last. */
  wait(reader: One, send: Send): void;
}

/**
 * Resolves when all is read, or the reader is gone; never rejects.
 * @param began to be told of the bytes when they are on their way: what is waited for before is not the reader's fault
 */
export type Send = (began: (bytes: number) => void) => Promise<void>;

/** Readers that have a place. */
const AT_ONCE = 16;
/** Of those, places of one source: others always find one. */
const PER_SOURCE = 12;
/** How long a reader keeps its place, ms. */
const PATIENCE_MS = 2_000;
/** Readers without a place that have not read all, and their bytes. */
const MAX_SLOW = 32;
const MAX_SLOW_BYTES = 64 * 1024 * 1024;
/** A session that was slow goes after the others for so long, ms. */
const LAST_MS = 60_000;
const MAX_REMEMBERED = 4_096;

/** @param clock ms */
export function createPlaces<One extends Reader>(clock: () => number = () => performance.now()): Places<One> {
  const turns = new Map<One, Send>();
  /** With what takes their place; absent while nothing is on its way. */
  const placed = new Map<One, NodeJS.Timeout | undefined>();
  /** In the order in which they lost their place. */
  const slow = new Map<One, number>();
  /** Sessions that were, until when they go last. */
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

  /** The first that need not wait for others; among those that were slow only where there is no other. */
  function choose(): One | undefined {
    const bySource = new Map<string, number>();
    for (const { source } of placed.keys()) bySource.set(source, (bySource.get(source) ?? 0) + 1);
    let late: One | undefined;
    for (const reader of turns.keys()) {
      // A connection is sent one after the other.
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
