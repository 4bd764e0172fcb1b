/**
 * Records refusals that only a workspace's own Envoy saw, because no other hop reports them. Each refusal gets an audit
 * row with the session id, or shares a row with other refusals of its kind, so that an operator can look up the text of
 * a refusal. Reports are unverified. They are marked as such, never affect a decision, and are limited to a number of
 * rows per session. Refusals that are waiting for a row are still counted.
 */
import type { RefusalReportRequest, ReportedRefusal } from '@meshpass/identity/refusal-report';
import { MAX_REPORTED_IDS, MAX_REPORTED_REFUSALS } from '@meshpass/identity/refusal-report';
import {
  type AuditContext,
  type AuditRow,
  auditRow,
  createAuditEvent,
  identityMembers,
  type Origin,
} from '../../audit/index.ts';
import { type Clock, createRateAllowance, type Random } from '../../base/index.ts';
import type { MeshState } from '../../mesh/index.ts';
import type { Live, LiveIndex } from './live.ts';
import { grantsOf } from './session.ts';

/** Collects refusal reports for the audit log. */
export type RefusalCollector = ReturnType<typeof createRefusalCollector>;

export interface RefusalCollectorContext {
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
/** Maximum number of kinds that can wait for a row, per session and in total. Any further kinds share one count. */
const SESSION_KINDS = MAX_REPORTED_REFUSALS;
const ALL_KINDS = 20_000;

/** Refusals to count. The kind is empty if the count covers more than one kind. */
type Counted = Kind & Pick<ReportedRefusal, 'count' | 'ids'>;
type Kind = Partial<Omit<ReportedRefusal, 'count' | 'ids'>>;

interface Sum {
  /** Session that reported the refusals. Its row limit applies. */
  readonly live: Live;
  /** Session whose requests were refused: the reporting session, or the previous session of its workspace. */
  readonly sessionId: string;
  /** Empty if the sum covers more than one kind. */
  readonly kind: Kind;
  readonly origin: Origin;
  readonly since: number;
  count: number;
  ids: readonly string[];
}

/** Creates the collector of refusal reports. */
export function createRefusalCollector(context: RefusalCollectorContext) {
  const { clock, random, mesh } = context;
  const sessions = createRateAllowance({ ...SESSION_ROWS, clock });
  const all = createRateAllowance({ ...ALL_ROWS, clock });
  /** Sums by reporting session, then by kind. */
  const waiting = new Map<string, Map<string, Sum>>();
  let kinds = 0;

  function add(live: Live, origin: Origin, sessionId: string, { count, ids, ...kind }: Counted): void {
    const { id } = live.session;
    const own = waiting.get(id) ?? new Map<string, Sum>();
    const keyOf = (one: Kind) => `${sessionId} ${JSON.stringify(one)}`;
    const apart = own.has(keyOf(kind)) || (own.size < SESSION_KINDS && kinds < ALL_KINDS);
    const counted = apart ? kind : {};
    const sum = own.get(keyOf(counted));
    if (sum) {
      sum.count = Math.min(sum.count + count, Number.MAX_SAFE_INTEGER);
      sum.ids = [...new Set([...ids, ...sum.ids])].slice(0, MAX_REPORTED_IDS);
      return;
    }
    own.set(keyOf(counted), { live, sessionId, origin, since: clock(), count, ids, kind: counted });
    waiting.set(id, own);
    kinds += 1;
  }

  const takeRows = (): readonly AuditRow[] => {
    const due: Sum[] = [];
    for (let before = -1; before < due.length; ) {
      before = due.length;
      // Take one row per session in turn, so that one session's rows do not hold up those of another.
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

  /** Returns a comma-separated list of the session's grants that include the port. */
  const grantsAt = ({ session }: Live, { host, port }: Kind): string => {
    if (!mesh.inForce()) return '';
    const services = mesh.services(grantsOf(session));
    const holding = services.filter((one) => one.host === host && one.port === port);
    return [...new Set(holding.map(({ grant }) => grant))].join(',');
  };

  const rowOf = ({ live, sessionId, origin, kind, count, ids, since }: Sum) => {
    const { host, port, hop, method, status, code } = kind;
    const grant = grantsAt(live, kind);
    const event = {
      ...createAuditEvent('request', { ...origin, requestId: ids[0] }, clock, random),
      ...identityMembers(live.session.attestation),
      sessionId,
      ...(hop && { target: `${host}:${port}` }),
      ...(grant && { grant, rule: context.ruleOf?.(grant) }),
      detail: {
        reportedBy: 'workspace',
        ...(sessionId !== live.session.id && { reportedWith: live.session.id }),
        ...(hop && { hop, method, status }),
        count,
        requests: ids,
        since: new Date(since).toISOString(),
      },
    };
    return auditRow(event, 'refused', reasonOf(kind, count), code, clock());
  };

  return {
    /** Adds the refusals of a report to the counts. */
    take: (live: Live, { earlier, ...own }: RefusalReportRequest, origin: Origin) => {
      const { id, attestation } = live.session;
      // A workspace may only report refusals of its own sessions.
      const isOwn = earlier && context.ended(earlier.session_id)?.workspace === attestation.workspace.key;
      const reports = [
        { ...own, session_id: id },
        ...(earlier ? [isOwn ? earlier : { ...earlier, session_id: id }] : []),
      ];
      for (const { session_id, refusals = [], more_refusals: more = 0 } of reports) {
        for (const refusal of refusals) add(live, origin, session_id, refusal);
        if (more > 0) add(live, origin, session_id, { count: more, ids: [] });
      }
    },
    /** Removes and returns as many rows as the limits allow. The rest stay for the next call. */
    takeRows,
  };
}

const BY = {
  workspace: "the workspace's Envoy",
  edge: 'the edge',
  mesh: 'the mesh on the path to the service',
  workload: "the service's policy",
} as const;

function reasonOf({ method, hop, status }: Kind, count: number): string {
  const times = count === 1 ? '' : ` ${count} times`;
  if (!hop) return `Unverified report from the workspace: other kinds of refusals,${times || ' once'}.`;
  const what = method === undefined ? 'a connection' : `a ${method === 'OTHER' ? '' : `${method} `}request`;
  const answer = status === undefined ? '' : ` (${status})`;
  return `Unverified report from the workspace: ${BY[hop]} denied ${what}${answer}${times}.`;
}
