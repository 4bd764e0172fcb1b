/**
 * A fair queue for a scarce resource. Requests wait in three lines that share the available slots (start-time fair
 * queueing). Renewals get most of the slots, because a missed renewal interrupts a working session. The other two lines
 * are for arrivals and returns. A return is a renewal whose certificate has already expired. Thousands of returns may
 * arrive at once, and neither working sessions nor new ones should have to wait for them. A request that cannot be
 * finished in time is rejected immediately. The Retry-After values of rejected requests are spaced by the expected
 * duration of the work.
 */
import { MeshpassError } from '@meshpass/identity';

/** The priority class of a request. `return` is for sessions whose certificate has already expired. */
export type QueuePriority = 'arrival' | 'renewal' | 'return';

export interface FairQueueOptions {
  /** The maximum number of requests that are processed concurrently. */
  readonly concurrency: number;
  /** The maximum number of waiting requests for each priority. */
  readonly limit: Readonly<Record<QueuePriority, number>>;
  /** The maximum time from entering the queue to the end of the work, in milliseconds. */
  readonly deadline: number;
}

const PRIORITIES: readonly QueuePriority[] = ['renewal', 'arrival', 'return'];
/**
 * The price that each line pays for a slot. While requests are waiting in all three lines, renewals get six out of
 * eight slots. With only one other line waiting, they get six out of seven.
 */
const PRICE: Readonly<Record<QueuePriority, number>> = { renewal: 1, arrival: 6, return: 6 };
/** The maximum Retry-After in seconds. Returns can safely wait longer, and there may be many of them. */
const LONGEST_RETRY_AFTER: Readonly<Record<QueuePriority, number>> = { arrival: 30, renewal: 30, return: 120 };

/** Creates a fair queue that is initially empty. */
export function createFairQueue(options: FairQueueOptions) {
  const lines: Record<QueuePriority, Set<() => void>> = { arrival: new Set(), renewal: new Set(), return: new Set() };
  let running = 0;
  /** How much each line has spent on slots. The next slot goes to the waiting line that has spent the least. */
  const spent: Record<QueuePriority, number> = { arrival: 0, renewal: 0, return: 0 };
  /**
   * The amount that the most recently served line had spent when it was served. A line that was empty starts from this
   * amount.
   */
  let virtualTime = 0;
  /** The time until which each line's slots are promised to clients that received a Retry-After. */
  const promised: Record<QueuePriority, number> = { arrival: 0, renewal: 0, return: 0 };
  /** The moving average of how long the work for one request takes, in milliseconds. */
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

  /**
   * Returns the expected time per request in a line, in milliseconds. It depends on which other lines have requests
   * waiting.
   */
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
     * Waits for a free slot and then runs the work.
     * @param work the work to run. It receives a signal that is aborted at the deadline or together with the caller's
     *   signal.
     * @throws MeshpassError `overloaded` if the line is full or the deadline passes while the request is waiting;
     *   otherwise any error from `work`
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
    /** Returns the current lengths of the lines, for metrics. */
    depth: () => ({
      arrival: lines.arrival.size,
      renewal: lines.renewal.size,
      return: lines.return.size,
      running,
    }),
    /**
     * Asserts that the line has room for another request. Call this before any expensive preparation.
     * @throws MeshpassError `overloaded` if `run` would reject the work immediately
     */
    assertRoom: (line: QueuePriority) => {
      if (isFull(line)) throw overloaded(line);
    },
  };
}
