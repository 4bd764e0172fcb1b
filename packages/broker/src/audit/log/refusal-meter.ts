/**
 * Limits how many refusals of unauthenticated clients are recorded as audit rows. Without a limit, such clients could
 * fill the log as fast as they can send requests. Every source has its own limit, and all unauthenticated clients share
 * another one. Clients that an issuer confirmed but that did not get a session have separate limits of the same size,
 * plus a limit per Codespace or job. Refusals beyond the limits are only counted, and the counts are written per
 * action, code and source. A broker that is killed loses its latest counts, but `meshpass_refusals_metered_total` still
 * includes them.
 */

import { type Clock, createRateAllowance, type Random } from '../../base/index.ts';
import { type AuditEvent, auditRow, createAuditEvent } from './event.ts';

export type RefusalMeter = ReturnType<typeof createRefusalMeter>;

export interface RefusalMeterContext {
  readonly clock: Clock;
  readonly random: Random;
  /** Called for each refusal that is only counted. */
  readonly onMetered: (action: string, code: string) => void;
}

/** The row limits, as a burst and a rate, per source and for all unauthenticated clients together. */
const SOURCE_ROWS = { burst: 200, perSecond: 1 };
const ALL_ROWS = { burst: 2_000, perSecond: 5 };
/** The maximum number of separate counts. Once it is reached, all other sources share one count per action and code. */
const SUMS = 64;
const MANY = 'many';

interface Sum {
  readonly action: AuditEvent['action'];
  readonly code: string;
  readonly group: string;
  count: number;
  readonly since: number;
}

/** Creates the refusal meter. */
export function createRefusalMeter(context: RefusalMeterContext) {
  const { clock, random } = context;
  const shares = createRateAllowance({ ...SOURCE_ROWS, clock });
  const all = createRateAllowance({ ...ALL_ROWS, clock });
  const sums = new Map<string, Sum>();

  function count(action: AuditEvent['action'], code: string, group: string): void {
    const own = `${action} ${code} ${group}`;
    const apart = sums.has(own) || sums.size < SUMS;
    const key = apart ? own : `${action} ${code} ${MANY}`;
    const sum = sums.get(key) ?? { action, code, group: apart ? group : MANY, count: 0, since: clock() };
    sum.count += 1;
    sums.set(key, sum);
  }

  const rowOf = ({ action, code, group, count: counted, since }: Sum) => {
    const detail = { count: counted, since: new Date(since).toISOString() };
    const event = { ...createAuditEvent(action, { source: group }, clock, random), detail };
    const reason = `${counted} more refusals, counted instead of recorded individually.`;
    return auditRow(event, 'refused', reason, code, clock());
  };

  return {
    /**
     * Either admits a refusal to the log or counts it.
     * @param group the source group of the refusal, as returned by `sourceGroup()`
     * @returns whether the refusal gets its own row
     */
    admit: (event: AuditEvent, code: string, group: string) => {
      const { pool, keys } = sharesOf(event, group);
      if (keys.every(shares.has) && all.take(pool)) {
        for (const key of keys) shares.take(key);
        return true;
      }
      count(event.action, code, group);
      context.onMetered(event.action, code);
      return false;
    },
    /** Returns the counts as rows and resets them. */
    takeRows: () => {
      const rows = [...sums.values()].map(rowOf);
      sums.clear();
      return rows;
    },
  };
}

/**
 * Chooses the limits for a refusal. Unauthenticated clients must not use up the rows of confirmed clients, and a stolen
 * token must not use up the rows of other workspaces.
 */
function sharesOf({ subject, workspace }: AuditEvent, group: string): { pool: string; keys: readonly string[] } {
  if (subject === undefined) return { pool: 'strangers', keys: [`stranger ${group}`] };
  const keys = [`confirmed ${group}`, ...(workspace === undefined ? [] : [`workspace ${workspace}`])];
  return { pool: 'confirmed', keys };
}
