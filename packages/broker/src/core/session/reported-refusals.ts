/**
 * Records refusals that were seen only by the workspace's own Envoy, because no other hop reports them. Each refusal
 * gets an audit row with the session id, or shares a row with other refusals of the same kind, so that an operator can
 * look up the text of a refusal. Reports are unverified. They are marked as such, they never affect a decision, and the
 * number of rows per session is limited. Refusals that are waiting for a row are still counted.
 */
import {
  MAX_REPORTED_IDS,
  MAX_REPORTED_REFUSALS,
  type RefusalReportRequest,
  type ReportedRefusal,
} from '@meshpass/identity/refusal-report';
import { type AuditRow, auditRow, createAuditEvent, identityMembers, type Origin } from '../../audit/index.ts';
import { createRateAllowance } from '../../base/index.ts';
import type { SessionContext } from './context.ts';
import type { Live } from './live.ts';
import { grantsOf } from './session.ts';

/** Collects reports of refused requests for the audit log. */
export type RefusalCollector = ReturnType<typeof createRefusalCollector>;

/** The limits on audit rows, for each session and for all sessions together. */
const SESSION_ROWS = { burst: 20, perSecond: 1 / 30 };
const ALL_ROWS = { burst: 1_000, perSecond: 10 };
/**
 * The maximum number of kinds of refusals that can wait for a row, per session and in total. Any further kinds share a
 * single count.
 */
const SESSION_KINDS = MAX_REPORTED_REFUSALS;
const ALL_KINDS = 20_000;

/** Refusals to be counted. The kind is empty if the count covers more than one kind. */
type Counted = Kind & Pick<ReportedRefusal, 'count' | 'ids'>;
type Kind = Partial<Omit<ReportedRefusal, 'count' | 'ids'>>;

interface Sum {
  /** The session that reported the refusals. Its row limit applies. */
  readonly live: Live;
  /**
   * The session whose requests were refused. This is either the reporting session or an earlier session of its
   * workspace.
   */
  readonly sessionId: string;
  /** The kind of refusal. Empty if the sum covers more than one kind. */
  readonly kind: Kind;
  readonly origin: Origin;
  readonly since: number;
  count: number;
  ids: readonly string[];
}

/** Creates the collector of refusal reports. */
export function createRefusalCollector(context: Pick<SessionContext, 'clock' | 'random' | 'mesh' | 'audit' | 'live'>) {
  const { clock, random, mesh } = context;
  const sessions = createRateAllowance({ ...SESSION_ROWS, clock });
  const all = createRateAllowance({ ...ALL_ROWS, clock });
  /** The sums that are waiting for an audit row, by reporting session and then by kind. */
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
      // Take one row from each session in turn, so that a session with many rows does not delay the others.
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

  /** Returns a comma-separated list of the session's grants that include the service at the given host and port. */
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
      ...(grant && { grant, rule: context.audit.ruleOf?.(grant) }),
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
    /** Adds the refusals in a report to the counts. */
    take: (live: Live, { earlier, ...own }: RefusalReportRequest, origin: Origin) => {
      const { id, attestation } = live.session;
      // A workspace may only report refusals that concern its own sessions.
      const isOwn =
        earlier && context.live.ended(earlier.session_id)?.attestation.workspace.key === attestation.workspace.key;
      const reports = [
        { ...own, session_id: id },
        ...(earlier ? [isOwn ? earlier : { ...earlier, session_id: id }] : []),
      ];
      for (const { session_id, refusals = [], more_refusals: more = 0 } of reports) {
        for (const refusal of refusals) add(live, origin, session_id, refusal);
        if (more > 0) add(live, origin, session_id, { count: more, ids: [] });
      }
    },
    /** Removes and returns as many rows as the limits allow. The remaining rows are kept for the next call. */
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
