/**
 * Work that waits for a scarce thing. Renewals go first, because a missed renewal cuts a working session, but of every
 * four places one goes to an arrival, so neither can starve the other. What cannot be done in time is refused at once.
 */
import { MeshpassError } from '@meshpass/identity';

export type QueuePriority = 'arrival' | 'renewal';

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
}

/** Renewals served for every arrival while both wait. */
const RENEWALS_PER_ARRIVAL = 3;
const LONGEST_RETRY_AFTER = 30;

export function fairQueue(options: FairQueueOptions): FairQueue {
  const lines: Record<QueuePriority, Set<() => void>> = { arrival: new Set(), renewal: new Set() };
  let running = 0;
  let renewalsInRow = 0;
  /** Moving average of how long one piece of work takes, milliseconds. */
  let usual = 100;

  const next = (): void => {
    while (running < options.concurrency) {
      const line = choose();
      const first = line && lines[line].values().next().value;
      if (!line || !first) return;
      renewalsInRow = line === 'renewal' ? renewalsInRow + 1 : 0;
      lines[line].delete(first);
      running += 1;
      first();
    }
  };

  const choose = (): QueuePriority | undefined => {
    if (lines.renewal.size === 0) return lines.arrival.size === 0 ? undefined : 'arrival';
    return lines.arrival.size > 0 && renewalsInRow >= RENEWALS_PER_ARRIVAL ? 'arrival' : 'renewal';
  };

  const overloaded = (): MeshpassError => {
    const waiting = lines.arrival.size + lines.renewal.size;
    const wait = Math.ceil(((waiting + 1) * usual) / options.concurrency / 1000);
    return new MeshpassError('overloaded', 'Too many certificates are being requested; try again shortly.', {
      detail: { arrivals: lines.arrival.size, renewals: lines.renewal.size, running },
      retryAfter: Math.min(LONGEST_RETRY_AFTER, Math.max(1, wait)),
    });
  };

  const place = (line: QueuePriority, signal: AbortSignal): Promise<void> =>
    new Promise((resolve, reject) => {
      if (lines[line].size >= options.limit[line]) return reject(overloaded());
      const leave = (): void => {
        lines[line].delete(enter);
        reject(overloaded());
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
    depth: () => ({ arrival: lines.arrival.size, renewal: lines.renewal.size, running }),
  };
}
