/**
 * What the broker is told of refusals, with the heartbeat: how many of each kind since the last time. Bounded: a program that is
 * refused ten thousand times a second is one kind with a large number.
 */
import {
  type HeartbeatRequest,
  isReportedId,
  MAX_REPORTED,
  MAX_REPORTED_IDS,
  type ReportedRefusal,
} from '@meshpass/identity/refusal-report';

export class RefusalReport {
  #own = new Kinds();
  /** Of the session before, which was over before all had been told. */
  #earlier: { readonly sessionId: string; readonly kinds: Kinds } | undefined;
  #session = 0;

  get isEmpty(): boolean {
    return this.#own.isEmpty && (this.#earlier?.kinds.isEmpty ?? true);
  }

  /** @param id of the request, or of the edge's decision */
  add(kind: Omit<ReportedRefusal, 'count' | 'ids'>, id: string | undefined): void {
    this.#own.add({ ...kind, count: 1, ids: isReportedId(id) ? [id] : [] });
  }

  /**
   * Has sent what is to be reported now. What did not arrive is kept for the next time.
   * @param send gets undefined where there is nothing to report
   */
  async send<T>(send: (report: HeartbeatRequest | undefined) => Promise<T>): Promise<T> {
    const session = this.#session;
    const before = this.#earlier;
    const own = this.#own.take();
    const left = before?.kinds.take();
    const earlier = before && left && { session_id: before.sessionId, ...left };
    try {
      return await send(own || earlier ? { ...own, ...(earlier && { earlier }) } : undefined);
    } catch (error) {
      // Where that session is over meanwhile, it is the one before; of the one before that nothing is kept.
      const isCurrent = session === this.#session;
      if (own)
        (isCurrent ? this.#own : session + 1 === this.#session ? this.#earlier?.kinds : undefined)?.giveBack(own);
      if (left && isCurrent) before?.kinds.giveBack(left);
      throw error;
    }
  }

  /** There is another session: what was refused under the one before is told with the next one's heartbeats, as that one's. */
  sessionChanged(before: string): void {
    this.#session += 1;
    this.#earlier = { sessionId: before, kinds: this.#own };
    this.#own = new Kinds();
  }
}

type Counts = Pick<HeartbeatRequest, 'refusals' | 'more_refusals'>;

class Kinds {
  #kinds = new Map<string, ReportedRefusal>();
  #more = 0;

  get isEmpty(): boolean {
    return this.#kinds.size === 0 && this.#more === 0;
  }

  take(): Counts | undefined {
    if (this.isEmpty) return undefined;
    const counts = { refusals: [...this.#kinds.values()], ...(this.#more > 0 && { more_refusals: this.#more }) };
    this.#kinds = new Map();
    this.#more = 0;
    return counts;
  }

  giveBack({ refusals = [], more_refusals: more = 0 }: Counts): void {
    for (const one of refusals) this.add(one);
    this.#more = bounded(this.#more + more);
  }

  add({ count, ids, ...kind }: ReportedRefusal): void {
    const key = JSON.stringify(kind);
    const before = this.#kinds.get(key);
    if (!before && this.#kinds.size >= MAX_REPORTED) {
      this.#more = bounded(this.#more + count);
      return;
    }
    this.#kinds.set(key, {
      ...kind,
      count: bounded((before?.count ?? 0) + count),
      ids: [...new Set([...ids, ...(before?.ids ?? [])])].slice(0, MAX_REPORTED_IDS),
    });
  }
}

function bounded(count: number): number {
  return Math.min(count, 1_000_000_000);
}
