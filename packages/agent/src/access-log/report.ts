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
  #kinds = new Map<string, ReportedRefusal>();
  #more = 0;
  #session = 0;

  get isEmpty(): boolean {
    return this.#kinds.size === 0 && this.#more === 0;
  }

  /** @param id of the request, or of the edge's decision */
  add(kind: Omit<ReportedRefusal, 'count' | 'ids'>, id: string | undefined): void {
    this.#add({ ...kind, count: 1, ids: isReportedId(id) ? [id] : [] });
  }

  /**
   * Has sent what is to be reported now. What did not arrive is kept for the next time.
   * @param send gets undefined where there is nothing to report
   */
  async send<T>(send: (report: HeartbeatRequest | undefined) => Promise<T>): Promise<T> {
    const report = this.#take();
    const session = this.#session;
    try {
      return await send(report);
    } catch (error) {
      if (report && session === this.#session) this.#giveBack(report);
      throw error;
    }
  }

  /** There is another session: what was refused under the one before is nothing that this one may tell. */
  clear(): void {
    this.#session += 1;
    this.#take();
  }

  #take(): HeartbeatRequest | undefined {
    if (this.isEmpty) return undefined;
    const report = { refusals: [...this.#kinds.values()], ...(this.#more > 0 && { more_refusals: this.#more }) };
    this.#kinds = new Map();
    this.#more = 0;
    return report;
  }

  #giveBack({ refusals = [], more_refusals: more = 0 }: HeartbeatRequest): void {
    for (const one of refusals) this.#add(one);
    this.#more = bounded(this.#more + more);
  }

  #add({ count, ids, ...kind }: ReportedRefusal): void {
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
