/**
 * Fair queue for a scarce resource. Requests wait in three lines, which share the slots (start-time fair queueing).
 * Renewals get most of them, because a missed renewal interrupts a working session. The other lines are arrivals and
 * returns. A return is a renewal whose certificate has already expired. Thousands of returns may come at once, and
 * neither working nor new sessions wait behind them. A request that cannot finish in time is rejected immediately. Each
 * rejection has a different Retry-After, spaced by the duration of the work.
 */
import { MeshpassError } from '@meshpass/identity';

/** Priority class of a request. `return` is for a session whose certificate has expired. */
export type QueuePriority = 'arrival' | 'renewal' | 'return';

export interface FairQueueOptions {
  /** Maximum number of requests processed concurrently. */
  readonly concurrency: number;
  /** Maximum number of waiting requests per priority. */
  readonly limit: Readonly<Record<QueuePriority, number>>;
  /** Maximum time from joining the queue to the end of the work, milliseconds. */
  readonly deadline: number;
}

const PRIORITIES: readonly QueuePriority[] = ['renewal', 'arrival', 'return'];
/** Price of a slot. While all lines are waiting, renewals get six of eight slots, and six of seven beside one other. */
const PRICE: Readonly<Record<QueuePriority, number>> = { renewal: 1, arrival: 6, return: 6 };
/** Maximum Retry-After, seconds. Returns can wait longer without harm, and there may be many of them. */
const LONGEST_RETRY_AFTER: Readonly<Record<QueuePriority, number>> = { arrival: 30, renewal: 30, return: 120 };

/** Creates an empty queue. */
export function createFairQueue(options: FairQueueOptions) {
  const lines: Record<QueuePriority, Set<() => void>> = { arrival: new Set(), renewal: new Set(), return: new Set() };
  let running = 0;
  /** Amount that each line has spent on slots. The waiting line that has spent least is next. */
  const spent: Record<QueuePriority, number> = { arrival: 0, renewal: 0, return: 0 };
  /** Amount that the last line served had spent before. A line that was empty starts from here. */
  let virtualTime = 0;
  /** Time until which the slots of each line are promised to clients that received a Retry-After. */
  const promised: Record<QueuePriority, number> = { arrival: 0, renewal: 0, return: 0 };
  /** Moving average of the duration of the work for one request, milliseconds. */
  let usual = 100;

  const next = (): void => {
    while (running < options.concurrency) {
      const [line] = PRIORITIES.filter((one) => lines[one].size > 0).sort((a, b) => spent[a] - spent[b]);
      if (!line) return;
      virtualTime = spent[line];
      spent[line] += PRICE[line];
      const [first] = lines[line];
      lines[line].delete(first!);
      running += 1;
      first!();
    }
  };

  /** Returns the expected milliseconds per request in a line, depending on which other lines have waiting requests. */
  const each = (line: QueuePriority): number => {
    const sharing = PRIORITIES.filter((one) => one === line || lines[one].size > 0);
    const share = 1 / PRICE[line] / sharing.reduce((sum, one) => sum + 1 / PRICE[one], 0);
    return usual / options.concurrency / share;
  };

  const isFull = (line: QueuePriority): boolean =>
    lines[line].size >= options.limit[line] || lines[line].size * each(line) > options.deadline;

  const overloaded = (line: QueuePriority): MeshpassError => {
    const now = performance.now();
    const longest = LONGEST_RETRY_AFTER[line];
    const next = Math.max(now + lines[line].size * each(line), promised[line]) + each(line);
    promised[line] = Math.min(next, now + longest * 1000);
    return new MeshpassError('overloaded', 'Too many certificates are being requested. Try again shortly.', {
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
      if (lines[line].size === 0) spent[line] = Math.max(spent[line], virtualTime);
      lines[line].add(enter);
      next();
    });

  return {
    /**
     * Waits for a slot and runs the work.
     * @param work receives a signal that aborts at the deadline or with the caller's signal
     * @throws MeshpassError `overloaded` if the line is full or the deadline passes while waiting; otherwise the error
     *   from `work`
     */
    run: async <T>(
      line: QueuePriority,
      work: (signal: AbortSignal) => Promise<T>,
      signal?: AbortSignal,
    ): Promise<T> => {
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
    /** Returns the queue lengths for metrics. */
    depth: () => ({
      arrival: lines.arrival.size,
      renewal: lines.renewal.size,
      return: lines.return.size,
      running,
    }),
    /**
     * Asserts that the line has room. Call this before costly preparation.
     * @throws MeshpassError `overloaded` if `run` would reject the work immediately
     */
    assertRoom: (line: QueuePriority) => {
      if (isFull(line)) throw overloaded(line);
    },
  };
}
