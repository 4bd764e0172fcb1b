/**
 * Work that waits for a scarce thing. Renewals go first, because a missed renewal cuts a working session, but of every four places one
 * goes to the others, so none can starve. Those are arrivals, and renewals that come too late already: thousands of them may come back
 * at once, and neither a working session nor a new one waits behind them. What cannot be done in time is refused at once, and
 * each that is refused is told another time to come again, as far apart as the work takes.
 */
import { MeshpassError } from '@meshpass/identity';

/** `return`: of one whose certificate has expired. */
export type QueuePriority = 'arrival' | 'renewal' | 'return';

export interface FairQueueOptions {
  /** How much may run at once. */
  readonly concurrency: number;
  /** How many may wait in each line. */
  readonly limit: Readonly<Record<QueuePriority, number>>;
  /** Milliseconds from entering the line to the end of the work. */
  readonly deadline: number;
}

export interface FairQueue {
  /**
   * @param work gets a signal that ends with the deadline or the caller's own
   * @throws MeshpassError `overloaded` where the line is full or the deadline passes while waiting; else what work throws
   */
  run<T>(line: QueuePriority, work: (signal: AbortSignal) => Promise<T>, signal?: AbortSignal): Promise<T>;
  /** For metrics. */
  depth(): Readonly<Record<QueuePriority | 'running', number>>;
  /** For what costs something before it waits. @throws MeshpassError `overloaded` where `run` would refuse it at once */
  assertRoom(line: QueuePriority): void;
}

/** Renewals served for every other while both wait. */
const RENEWALS_IN_ROW = 3;
/** Seconds. Who returns has nothing to lose by waiting, and there may be many. */
const LONGEST_RETRY_AFTER: Readonly<Record<QueuePriority, number>> = { arrival: 30, renewal: 30, return: 120 };

export function fairQueue(options: FairQueueOptions): FairQueue {
  const lines: Record<QueuePriority, Set<() => void>> = { arrival: new Set(), renewal: new Set(), return: new Set() };
  let running = 0;
  let renewalsInRow = 0;
  let lastOther: QueuePriority = 'return';
  /** Until when the places are promised to those that were told to come again. */
  const promised: Record<QueuePriority, number> = { arrival: 0, renewal: 0, return: 0 };
  /** Moving average of how long one piece of work takes, milliseconds. */
  let usual = 100;

  const next = (): void => {
    while (running < options.concurrency) {
      const line = choose();
      const first = line && lines[line].values().next().value;
      if (!line || !first) return;
      renewalsInRow = line === 'renewal' ? renewalsInRow + 1 : 0;
      if (line !== 'renewal') lastOther = line;
      lines[line].delete(first);
      running += 1;
      first();
    }
  };

  const choose = (): QueuePriority | undefined => {
    const other = otherLine();
    if (lines.renewal.size === 0) return other;
    return other && renewalsInRow >= RENEWALS_IN_ROW ? other : 'renewal';
  };

  /** Arrivals and returns take turns. */
  const otherLine = (): QueuePriority | undefined => {
    const { arrival, return: returning } = lines;
    if (arrival.size > 0 && returning.size > 0) return lastOther === 'return' ? 'arrival' : 'return';
    if (arrival.size > 0) return 'arrival';
    return returning.size > 0 ? 'return' : undefined;
  };

  /** Milliseconds for which one of a line has the places, while the other lines stay as they are. */
  const each = (line: QueuePriority): number => {
    const waits = (other: QueuePriority) => other !== line && lines[other].size > 0;
    const share =
      line === 'renewal'
        ? waits('arrival') || waits('return')
          ? RENEWALS_IN_ROW / (RENEWALS_IN_ROW + 1)
          : 1
        : (waits('renewal') ? 1 / (RENEWALS_IN_ROW + 1) : 1) * (waits('arrival') || waits('return') ? 0.5 : 1);
    return usual / options.concurrency / share;
  };

  const isFull = (line: QueuePriority): boolean =>
    lines[line].size >= options.limit[line] || lines[line].size * each(line) > options.deadline;

  const overloaded = (line: QueuePriority): MeshpassError => {
    const now = performance.now();
    const longest = LONGEST_RETRY_AFTER[line];
    const next = Math.max(now + lines[line].size * each(line), promised[line]) + each(line);
    promised[line] = Math.min(next, now + longest * 1000);
    return new MeshpassError('overloaded', 'Too many certificates are being requested; try again shortly.', {
      detail: { arrivals: lines.arrival.size, renewals: lines.renewal.size, returns: lines.return.size, running },
      retryAfter: Math.max(1, Math.ceil((promised[line] - now) / 1000)),
    });
  };

  const place = (line: QueuePriority, signal: AbortSignal): Promise<void> =>
    new Promise((resolve, reject) => {
      if (isFull(line)) return reject(overloaded(line));
      const leave = (): void => {
        lines[line].delete(enter);
        reject(overloaded(line));
      };
      const enter = (): void => {
        signal.removeEventListener('abort', leave);
        resolve();
      };
      if (signal.aborted) return leave();
      signal.addEventListener('abort', leave, { once: true });
      lines[line].add(enter);
      next();
    });

  return {
    run: async (line, work, signal) => {
      const deadline = AbortSignal.timeout(options.deadline);
      const either = signal ? AbortSignal.any([signal, deadline]) : deadline;
      await place(line, either);
      const began = performance.now();
      try {
        return await work(either);
      } finally {
        usual += (performance.now() - began - usual) / 16;
        running -= 1;
        next();
      }
    },
    depth: () => ({
      ...{ arrival: lines.arrival.size, renewal: lines.renewal.size, return: lines.return.size },
      running,
    }),
    assertRoom: (line) => {
      if (isFull(line)) throw overloaded(line);
    },
  };
}
