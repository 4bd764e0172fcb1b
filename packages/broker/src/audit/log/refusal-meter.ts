/**
 * Refusals of strangers, metered: whoever reaches the broker can be refused as fast as they send, and must not fill the audit log
 * by it. Each source has some rows of its own, and all strangers together have; those whom an issuer confirmed, and who get no
 * session, have as many again, also by Codespace or job. What goes beyond is counted, and the counts are
 * written, by action, code and source, twice a minute and when the broker stops. A broker that is killed loses the counts
 * since then; `meshpass_refusals_metered_total` has them.
 */

import type { Clock, Random } from '../../clock/clock.ts';
import { createRateAllowance } from '../../limits/rate-allowance.ts';
import { type AuditEvent, auditRow, newEvent } from './event.ts';
import { flushEvery } from './flush-every.ts';
import type { Journal } from './journal.ts';

export interface RefusalMeter {
  /**
   * @param group source of the refusal, see groupOf()
   * @returns whether the refusal has a row of its own; otherwise it is counted
   */
  readonly admit: (event: AuditEvent, code: string, group: string) => boolean;
  /** Writes what was counted. What cannot be written is kept for the next time. */
  readonly flush: () => Promise<void>;
  /** Goes on doing that. @returns stops it, after a last time */
  readonly start: () => () => Promise<void>;
}

export interface RefusalMeterContext {
  readonly journal: Pick<Journal, 'write'>;
  readonly clock: Clock;
  readonly random: Random;
  /** Told of each refusal that is only counted. */
  readonly onMetered: (action: string, code: string) => void;
  readonly onFailure: (cause: unknown) => void;
}

/** Rows of one source, and of all strangers, at once and a second. */
const SOURCE_ROWS = { burst: 200, perSecond: 1 };
const ALL_ROWS = { burst: 2_000, perSecond: 5 };
const FLUSH_MS = 30_000;
/** Sums that are kept apart by source; those of further sources are put together. */
const SUMS = 64;
const MANY = 'many';

interface Sum {
  readonly action: AuditEvent['action'];
  readonly code: string;
  readonly group: string;
  count: number;
  readonly since: number;
}

export function createRefusalMeter(context: RefusalMeterContext): RefusalMeter {
  const { journal, clock, random } = context;
  const shares = createRateAllowance({ ...SOURCE_ROWS, clock });
  const all = createRateAllowance({ ...ALL_ROWS, clock });
  let sums = new Map<string, Sum>();

  function count(action: AuditEvent['action'], code: string, group: string, by: number, since: number): void {
    const own = `${action} ${code} ${group}`;
    const apart = sums.has(own) || sums.size < SUMS;
    const key = apart ? own : `${action} ${code} ${MANY}`;
    const sum = sums.get(key) ?? { action, code, group: apart ? group : MANY, count: 0, since };
    sum.count += by;
    sums.set(key, sum);
  }

  const flush = async () => {
    if (sums.size === 0) return;
    const written = sums;
    sums = new Map();
    try {
      await journal.write({ audit: [...written.values()].map(rowOf) });
    } catch (thrown) {
      for (const sum of written.values()) count(sum.action, sum.code, sum.group, sum.count, sum.since);
      context.onFailure(thrown);
    }
  };

  const rowOf = ({ action, code, group, count: counted, since }: Sum) => {
    const detail = { count: counted, since: new Date(since).toISOString() };
    const event = { ...newEvent(action, { source: group }, clock, random), detail };
    const reason = `${counted} more refusals, counted instead of recorded one by one.`;
    return auditRow(event, 'refused', reason, code, clock());
  };

  return {
    admit: (event, code, group) => {
      const { pool, keys } = sharesOf(event, group);
      if (keys.every(shares.has) && all.take(pool)) {
        for (const key of keys) shares.take(key);
        return true;
      }
      count(event.action, code, group, 1, clock());
      context.onMetered(event.action, code);
      return false;
    },
    flush,
    start: () => flushEvery(FLUSH_MS, flush),
  };
}

/** A flood of strangers does not take the rows of those who are known by name, nor one stolen token those of all others. */
function sharesOf({ subject, workspace }: AuditEvent, group: string): { pool: string; keys: readonly string[] } {
  if (subject === undefined) return { pool: 'strangers', keys: [`stranger ${group}`] };
  const keys = [`confirmed ${group}`, ...(workspace === undefined ? [] : [`workspace ${workspace}`])];
  return { pool: 'confirmed', keys };
}
