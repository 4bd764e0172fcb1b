/**
 * Records refusals that only a workspace's own Envoy saw and no other hop reports. Each refusal gets an audit row with
 * the session id, or shares one with others of its kind, so that an operator can find the text of a refusal. Reports
 * are unverified: they are marked as such, decide nothing and are limited to a number of rows per session. Refusals
 * that are waiting for a row are still counted.
 */
import type { RefusalReportRequest, ReportedRefusal } from '@meshpass/identity/refusal-report';
import { MAX_REPORTED, MAX_REPORTED_IDS } from '@meshpass/identity/refusal-report';
import {
  type AuditContext,
  type AuditRow,
  auditRow,
  identityMembers,
  newEvent,
  type Origin,
} from '../../audit/index.ts';
import { type Clock, createRateAllowance, type Random } from '../../base/index.ts';
import type { MeshState } from '../../mesh/index.ts';
import type { Live, LiveIndex } from './live.ts';
import { grantsOf } from './session.ts';

/** Collects refusal reports for the audit log. */
export type ReportedRefusals = ReturnType<typeof createReportedRefusals>;

export interface ReportedRefusalsContext {
  readonly clock: Clock;
  readonly random: Random;
  readonly mesh: Pick<MeshState, 'inForce' | 'services'>;
  readonly ruleOf: AuditContext['ruleOf'];
  /** Returns a recently ended session by its id. */
  readonly ended: LiveIndex['endedById'];
}

/** Row limits per session and for all sessions. */
const SESSION_ROWS = { burst: 20, perSecond: 1 / 30 };
const ALL_ROWS = { burst: 1_000, perSecond: 10 };
/** Maximum number of kinds waiting for a row, per session and in total. Further kinds are counted together. */
const SESSION_KINDS = MAX_REPORTED;
const ALL_KINDS = 20_000;

interface Sum {
  /** Session that reported the refusals. Its row limit applies. */
  readonly live: Live;
  /** Session that was refused: the reporting one, or the previous one of its workspace. */
  readonly sessionId: string;
  /** Absent if the sum covers several kinds. */
  readonly kind?: Omit<ReportedRefusal, 'count' | 'ids'>;
  readonly origin: Origin;
  readonly since: number;
  count: number;
  ids: readonly string[];
}

/** Creates the refusal report collector. */
export function createReportedRefusals(context: ReportedRefusalsContext) {
  const { clock, random, mesh } = context;
  const sessions = createRateAllowance({ ...SESSION_ROWS, clock });
  const all = createRateAllowance({ ...ALL_ROWS, clock });
  /** Sums by session, then by kind. */
  const waiting = new Map<string, Map<string, Sum>>();
  let kinds = 0;

  function add(live: Live, origin: Origin, { sessionId, kind, count, ids, since }: Omit<Sum, 'live' | 'origin'>): void {
    const { id } = live.session;
    const own = waiting.get(id) ?? new Map<string, Sum>();
    const several = sessionId === id ? '' : sessionId;
    const wanted = kind ? `${several} ${JSON.stringify(kind)}` : several;
    const apart = own.has(wanted) || (own.size < SESSION_KINDS && kinds < ALL_KINDS);
    const key = apart ? wanted : several;
    const sum = own.get(key);
    if (sum) {
      sum.count = Math.min(sum.count + count, Number.MAX_SAFE_INTEGER);
      sum.ids = [...new Set([...ids, ...sum.ids])].slice(0, MAX_REPORTED_IDS);
      return;
    }
    own.set(key, { live, sessionId, origin, since, count, ids, ...(apart && kind && { kind }) });
    waiting.set(id, own);
    kinds += 1;
  }

  function count(
    live: Live,
    origin: Origin,
    sessionId: string,
    told: Pick<RefusalReportRequest, 'refusals' | 'more_refusals'>,
  ) {
    const { refusals = [], more_refusals: more = 0 } = told;
    const since = clock();
    for (const { count: times, ids, ...kind } of refusals)
      add(live, origin, { sessionId, kind, count: times, ids, since });
    if (more > 0) add(live, origin, { sessionId, count: more, ids: [], since });
  }

  const takeRows = (): readonly AuditRow[] => {
    const due: Sum[] = [];
    for (let before = -1; before < due.length; ) {
      before = due.length;
      // Take one row per session in turn, so that no session waits behind all the rows of another.
      for (const [id, own] of [...waiting]) {
        if (!sessions.has(id) || !all.take('all')) continue;
        sessions.take(id);
        const [key, sum] = own.entries().next().value!;
        own.delete(key);
        kinds -= 1;
        due.push(sum);
        waiting.delete(id);
        if (own.size > 0) waiting.set(id, own);
      }
    }
    return due.map(rowOf);
  };

  /** Returns the session's grants that include the port as a comma-separated list. */
  const grantsAt = ({ session }: Live, { host, port }: Pick<ReportedRefusal, 'host' | 'port'>): string => {
    if (!mesh.inForce()) return '';
    const services = mesh.services(grantsOf(session));
    const holding = services.filter((one) => one.host === host && one.port === port);
    return [...new Set(holding.map(({ grant }) => grant))].join(',');
  };

  const rowOf = ({ live, sessionId, origin, kind, count, ids, since }: Sum) => {
    const grant = kind && grantsAt(live, kind);
    const event = {
      ...newEvent('request', { ...origin, requestId: ids[0] }, clock, random),
      ...identityMembers(live.session.attestation),
      sessionId,
      ...(kind && { target: `${kind.host}:${kind.port}` }),
      ...(grant && { grant, rule: context.ruleOf?.(grant) }),
      detail: {
        reportedBy: 'workspace',
        ...(sessionId !== live.session.id && { reportedWith: live.session.id }),
        ...(kind && { hop: kind.hop, method: kind.method, status: kind.status }),
        count,
        requests: ids,
        since: new Date(since).toISOString(),
      },
    };
    return auditRow(event, 'refused', reasonOf(kind, count), kind?.code, clock());
  };

  return {
    /** Counts the refusals of a report. */
    take: (live: Live, { earlier, ...own }: RefusalReportRequest, origin: Origin) => {
      count(live, origin, live.session.id, own);
      if (!earlier) return;
      // A workspace may report only on its own sessions.
      const isOwn = context.ended(earlier.session_id)?.workspace === live.session.attestation.workspace.key;
      count(live, origin, isOwn ? earlier.session_id : live.session.id, earlier);
    },
    /** Removes and returns as many rows as the limits allow, and keeps the rest for the next call. */
    takeRows,
  };
}

const BY = {
  workspace: "the workspace's Envoy",
  edge: 'the edge',
  mesh: 'the mesh on the path to the service',
  workload: "the service's policy",
} as const;

function reasonOf(kind: Sum['kind'], count: number): string {
  const times = count === 1 ? '' : ` ${count} times`;
  if (!kind) return `Unverified report from the workspace: other kinds of refusals,${times || ' once'}.`;
  const { method, hop, status } = kind;
  const what = method === undefined ? 'a connection' : `a ${method === 'OTHER' ? '' : `${method} `}request`;
  const answer = status === undefined ? '' : ` (${status})`;
  return `Unverified report from the workspace: ${BY[hop]} denied ${what}${answer}${times}.`;
}
