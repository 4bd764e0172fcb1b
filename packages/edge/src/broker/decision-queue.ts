/**
 * Delivers decisions to the broker's audit log in batches, and retries until the broker has accepted them. The queue is
 * bounded. Decisions are batched because a single audit log transaction costs as much as dozens of rows.
 */
import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import type { EdgeDecision } from '@meshpass/identity/channel';
import { type EdgeLog, SILENT_LOG } from '../log.ts';

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
}

export type DecisionQueue = ReturnType<typeof createDecisionQueue>;

/** Creates a queue that delivers decisions as they arrive. */
export function createDecisionQueue(options: DecisionQueueOptions) {
  const { log = SILENT_LOG, random = Math.random, maxQueue = MAX_QUEUE, maxOfSession = MAX_OF_SESSION } = options;
  const queue: EdgeDecision[] = [];
  /** The number of queued decisions, by session. */
  const queuedOf = new Map<string, number>();
  const sums = createDecisionSums();
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

/**
 * The maximum number of sums with a target, per session. Sessions have few granted targets. Any decisions beyond this
 * limit are summed up without a target.
 */
const MAX_NAMED = 200;

interface Sum {
  /** The target that all decisions in this sum have in common. Undefined if the sum covers all targets. */
  readonly target: string | undefined;
  /** The newest decision. Its principal, source and time are reported along with the sum. */
  last: EdgeDecision;
  count: number;
  bytesIn: number;
  bytesOut: number;
}

/**
 * Sums up the decisions of a session that exceed its share of the queue, by outcome and code. Decisions that reached a
 * target are also grouped by grant and target, so that a busy session cannot hide which targets it has reached.
 * Refusals are not, because their target is chosen by the client. There are only a few outcomes and codes, so a client
 * cannot create many sums.
 */
function createDecisionSums() {
  const held = new Map<string, Map<string, Sum>>();
  return {
    add(session: string, decision: EdgeDecision) {
      const sums = held.get(session) ?? new Map<string, Sum>();
      held.set(session, sums);
      const { outcome, code = '', spiffe_id = '', target } = decision;
      const named = `${outcome} ${code} ${spiffe_id} ${target}`;
      const isNamed = outcome !== 'refused' && target !== undefined && (sums.has(named) || sums.size < MAX_NAMED);
      const kind = isNamed ? named : `${outcome} ${code}`;
      const before = sums.get(kind) ?? { count: 0, bytesIn: 0, bytesOut: 0 };
      sums.set(kind, {
        target: isNamed ? target : undefined,
        last: decision,
        count: before.count + 1,
        bytesIn: before.bytesIn + (decision.bytes_in ?? 0),
        bytesOut: before.bytesOut + (decision.bytes_out ?? 0),
      });
    },
    /** Removes and returns the sums of every session for which `has` returns true. */
    take(has: (session: string) => boolean) {
      const taken: EdgeDecision[] = [];
      for (const [session, sums] of held) {
        if (!has(session)) continue;
        held.delete(session);
        for (const sum of sums.values()) taken.push(decisionOf(sum, session));
      }
      return taken;
    },
  };

  function decisionOf({ target, last, count, bytesIn, bytesOut }: Sum, session: string): EdgeDecision {
    const { at, outcome, code, spiffe_id, source } = last;
    return {
      id: randomUUID(),
      at,
      outcome,
      source,
      session_id: session,
      reason: `${count} more decisions of this session, not reported individually because too many were queued`,
      ...(code !== undefined && { code }),
      ...(spiffe_id !== undefined && { spiffe_id }),
      ...(target !== undefined && { target }),
      ...(outcome === 'ended' && { bytes_in: bytesIn, bytes_out: bytesOut }),
    };
  }
}
