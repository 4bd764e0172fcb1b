/**
 * Delivers decisions to the broker's audit log in batches, and retries until the broker has accepted them. The queue is
 * bounded. Decisions are batched because a single audit log transaction costs as much as dozens of rows.
 */
import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import type { EdgeDecision } from '@meshpass/identity';
import { type EdgeLog, SILENT_LOG } from '../log.ts';
import { createDecisionSums } from './summed-decisions.ts';

/** The maximum number of decisions per batch, as limited by the wire schema. */
const BATCH = 500;
const MAX_QUEUE = 50_000;
/**
 * The maximum number of queued decisions per session. Any further decisions of that session are only reported as sums,
 * so that they do not crowd out other sessions.
 */
const MAX_OF_SESSION = 1_000;
/** How long a decision may wait for others to join its batch, in milliseconds. */
const LINGER_MS = 200;
const BACKOFF_MS = { first: 250, most: 10_000 } as const;

export interface DecisionQueueOptions {
  /**
   * Delivers a batch. The promise resolves once the decisions are in the audit log. The same decision may be delivered
   * twice, with the same ID.
   */
  readonly deliver: (batch: readonly EdgeDecision[]) => Promise<void>;
  readonly log?: EdgeLog;
  readonly random?: () => number;
  readonly maxQueue?: number;
  readonly maxOfSession?: number;
  readonly newId?: () => string;
}

export type DecisionQueue = ReturnType<typeof createDecisionQueue>;

/** Creates a queue that delivers decisions as they arrive. */
export function createDecisionQueue(options: DecisionQueueOptions) {
  const { log = SILENT_LOG, random = Math.random, maxQueue = MAX_QUEUE, maxOfSession = MAX_OF_SESSION } = options;
  const queue: EdgeDecision[] = [];
  /** The number of queued decisions, by session. */
  const queuedOf = new Map<string, number>();
  const sums = createDecisionSums(options.newId ?? randomUUID);
  const stop = new AbortController();
  let posted = 0;
  let dropped = 0;
  let running: Promise<void> | undefined;
  return {
    /** Adds a decision to the queue. If the queue is full, the decision is only logged and counted as dropped. */
    report(decision: EdgeDecision) {
      const { session_id: session } = decision;
      if (session !== undefined && isFull(session)) {
        sums.add(session, decision);
        return;
      }
      if (queue.length >= maxQueue) {
        dropped++;
        log.warn({ decisions: [decision] }, 'a decision was not delivered to the broker');
        return;
      }
      push(decision);
      running ??= run();
    },
    stats: () => ({ queued: queue.length, posted, dropped }),
    /**
     * Makes one last attempt to deliver the queued decisions, then stops. Close the edge first, because closing it
     * reports the tunnels that end.
     */
    async close() {
      stop.abort();
      await running;
      for (const sum of sums.take(() => true)) push(sum);
      while (queue.length > 0) {
        try {
          await post();
        } catch (error) {
          dropped += queue.length;
          log.warn({ err: error, decisions: queue.splice(0) }, 'decisions were not delivered to the broker');
        }
      }
    },
  };

  async function run(): Promise<void> {
    let pause: number = LINGER_MS;
    while (queue.length > 0 && !stop.signal.aborted) {
      if (queue.length < BATCH || pause > LINGER_MS) await rest(pause);
      if (stop.signal.aborted) break;
      try {
        await post();
        pause = LINGER_MS;
      } catch (error) {
        pause = Math.min(BACKOFF_MS.most, Math.max(BACKOFF_MS.first, pause * 2)) * (0.75 + random() / 2);
        log.warn({ err: error, queued: queue.length }, 'the broker is not accepting decisions');
      }
    }
    running = undefined;
  }

  async function post(): Promise<void> {
    const batch = queue.slice(0, BATCH);
    await options.deliver(batch);
    queue.splice(0, batch.length);
    posted += batch.length;
    for (const { session_id: session } of batch) if (session !== undefined) leave(session);
    for (const sum of sums.take((session) => !isFull(session))) push(sum);
  }

  function isFull(session: string): boolean {
    return (queuedOf.get(session) ?? 0) >= maxOfSession;
  }

  function push(decision: EdgeDecision): void {
    queue.push(decision);
    const { session_id: session } = decision;
    if (session !== undefined) queuedOf.set(session, (queuedOf.get(session) ?? 0) + 1);
  }

  function leave(session: string): void {
    const left = (queuedOf.get(session) ?? 0) - 1;
    if (left > 0) queuedOf.set(session, left);
    else queuedOf.delete(session);
  }

  function rest(ms: number): Promise<void> {
    return sleep(ms, undefined, { signal: stop.signal, ref: false }).catch(() => {});
  }
}
