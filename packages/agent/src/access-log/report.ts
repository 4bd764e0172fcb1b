/**
 * Collects refusals to report to the broker, counted by kind. Memory usage is bounded: even if a single program causes
 * ten thousand refusals per second, they become one kind with a large count.
 */
import {
  isReportableId,
  MAX_REPORTED_IDS,
  MAX_REPORTED_REFUSALS,
  type RefusalReportRequest,
  type ReportedRefusal,
} from '@meshpass/identity/refusal-report';

export class RefusalReport {
  #own = new Kinds();
  /** Refusals from the previous session that have not been reported yet. */
  #earlier: { readonly sessionId: string; readonly kinds: Kinds } | undefined;

  get isEmpty(): boolean {
    return this.#own.isEmpty && (this.#earlier?.kinds.isEmpty ?? true);
  }

  /** @param id the request ID, or the ID of the edge's decision */
  add(kind: Omit<ReportedRefusal, 'count' | 'ids'>, id: string | undefined): void {
    this.#own.add({ ...kind, count: 1, ids: isReportableId(id) ? [id] : [] });
  }

  /** Sends the current report unless it is empty. If the report cannot be sent, it is kept for the next attempt. */
  async send(send: (report: RefusalReportRequest) => Promise<void>): Promise<void> {
    // If the session ends while the report is being sent, these counts belong to the previous session. Older ones are
    // dropped.
    const [kinds, before] = [this.#own, this.#earlier];
    const own = kinds.take();
    const left = before?.kinds.take();
    const earlier = before && left && { session_id: before.sessionId, ...left };
    try {
      if (own || earlier) await send({ ...own, ...(earlier && { earlier }) });
    } catch (error) {
      if (own) kinds.giveBack(own);
      if (left) before?.kinds.giveBack(left);
      throw error;
    }
  }

  /**
   * Starts a new session. Any refusals of the previous session that have not been reported yet are sent with later
   * reports, under the ID of the previous session.
   */
  sessionChanged(before: string): void {
    this.#earlier = { sessionId: before, kinds: this.#own };
    this.#own = new Kinds();
  }
}

type Counts = Pick<RefusalReportRequest, 'refusals' | 'more_refusals'>;

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
    if (!before && this.#kinds.size >= MAX_REPORTED_REFUSALS) {
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
