/**
 * Refusals that a workspace reports of itself: what its Envoy saw, and no hop tells the broker. They are one row each, or one for many
 * of a kind, with the session's id, so that whoever has the text of a refusal finds it. A workspace may say what it likes: its word
 * is marked as such, decides nothing, and takes no more rows than a session may have. What waits for a row goes on being counted.
 */
import type { HeartbeatRequest, ReportedRefusal } from '@meshpass/identity/refusal-report';
import { MAX_REPORTED, MAX_REPORTED_IDS } from '@meshpass/identity/refusal-report';
import { auditRow, identityMembers, newEvent, type Origin } from '../audit/log/event.ts';
import { flushEvery } from '../audit/log/flush-every.ts';
import type { Journal } from '../audit/log/journal.ts';
import type { Clock, Random } from '../clock/clock.ts';
import { createRateAllowance } from '../limits/rate-allowance.ts';
import type { MeshState } from '../reconcile/contract.ts';
import type { Live, LiveIndex } from './live.ts';

export interface ReportedRefusals {
  /** Counts; writes nothing yet. */
  readonly take: (live: Live, report: HeartbeatRequest, origin: Origin) => void;
  /** Writes what may be written now. What cannot be written is kept for the next time. */
  readonly flush: () => Promise<void>;
  /** Goes on doing that. @returns stops it, after a last time */
  readonly start: () => () => Promise<void>;
}

export interface ReportedRefusalsContext {
  readonly journal: Pick<Journal, 'write'>;
  readonly clock: Clock;
  readonly random: Random;
  readonly mesh: Pick<MeshState, 'inForce' | 'services'>;
  readonly ruleOf: (grants: string) => string | undefined;
  /** A session that is over, for a while. */
  readonly ended: LiveIndex['endedById'];
  readonly onFailure: (cause: unknown) => void;
}

/** Rows of one session, and of all: at once, and a second. */
const SESSION_ROWS = { burst: 20, perSecond: 1 / 30 };
const ALL_ROWS = { burst: 1_000, perSecond: 10 };
/** Kinds of one session, and of all, that wait for a row; those beyond are counted together. */
const SESSION_KINDS = MAX_REPORTED;
const ALL_KINDS = 20_000;
const FLUSH_MS = 1_000;

interface Sum {
  /** That tells of it, and whose rows are spent. */
  readonly live: Live;
  /** Under which it was refused: the same, or the one before of its workspace. */
  readonly sessionId: string;
  /** Absent: of several kinds. */
  readonly kind?: Omit<ReportedRefusal, 'count' | 'ids'>;
  readonly origin: Origin;
  readonly since: number;
  count: number;
  ids: readonly string[];
}

export function createReportedRefusals(context: ReportedRefusalsContext): ReportedRefusals {
  const { journal, clock, random, mesh } = context;
  const sessions = createRateAllowance({ ...SESSION_ROWS, clock });
  const all = createRateAllowance({ ...ALL_ROWS, clock });
  /** By session, then by kind. */
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
    told: Pick<HeartbeatRequest, 'refusals' | 'more_refusals'>,
  ) {
    const { refusals = [], more_refusals: more = 0 } = told;
    const since = clock();
    for (const { count: times, ids, ...kind } of refusals)
      add(live, origin, { sessionId, kind, count: times, ids, since });
    if (more > 0) add(live, origin, { sessionId, count: more, ids: [], since });
  }

  const flush = async () => {
    const written: Sum[] = [];
    for (let before = -1; before < written.length; ) {
      before = written.length;
      // One row each, and whoever had one stands last: nobody waits behind all that others report.
      for (const [id, own] of [...waiting]) {
        if (!sessions.has(id) || !all.take('all')) continue;
        sessions.take(id);
        const [key, sum] = own.entries().next().value!;
        own.delete(key);
        kinds -= 1;
        written.push(sum);
        waiting.delete(id);
        if (own.size > 0) waiting.set(id, own);
      }
    }
    if (written.length === 0) return;
    try {
      await journal.write({ audit: written.map(rowOf) });
    } catch (thrown) {
      for (const { live, origin, ...sum } of written) {
        add(live, origin, sum);
        sessions.giveBack(live.session.id);
        all.giveBack('all');
      }
      context.onFailure(thrown);
    }
  };

  /** Grants of the session that hold the port, with commas. */
  const grantsAt = ({ session }: Live, { host, port }: Pick<ReportedRefusal, 'host' | 'port'>): string => {
    if (!mesh.inForce()) return '';
    const services = mesh.services(session.grants.map(({ name }) => name));
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
      ...(grant && { grant, rule: context.ruleOf(grant) }),
      detail: {
        reportedBy: 'workspace',
        ...(sessionId !== live.session.id && { reportedWith: live.session.id }),
        ...(kind && { hop: kind.hop, method: kind.method, status: kind.status }),
        ...{ count, requests: ids, since: new Date(since).toISOString() },
      },
    };
    return auditRow(event, 'refused', reasonOf(kind, count), kind?.code, clock());
  };

  return {
    take: (live, { earlier, ...own }, origin) => {
      count(live, origin, live.session.id, own);
      if (!earlier) return;
      // A workspace says of its own sessions what it likes, and of nobody else's.
      const isOwn = context.ended(earlier.session_id)?.workspace === live.session.attestation.workspace.key;
      count(live, origin, isOwn ? earlier.session_id : live.session.id, earlier);
    },
    flush,
    start: () => flushEvery(FLUSH_MS, flush),
  };
}

const BY = {
  workspace: "the workspace's Envoy",
  edge: 'the edge',
  mesh: 'the mesh, on the way to the service',
  workload: "the service's policy",
} as const;

function reasonOf(kind: Sum['kind'], count: number): string {
  const times = count === 1 ? '' : ` ${count} times`;
  if (!kind) return `The workspace says, and nobody has verified: refusals of further kinds,${times || ' once'}.`;
  const { method, hop, status } = kind;
  const what = method === undefined ? 'a connection' : `a ${method === 'OTHER' ? '' : `${method} `}request`;
  const answer = status === undefined ? '' : ` (${status})`;
  return `The workspace says, and nobody has verified: ${BY[hop]} refused ${what}${answer}${times}.`;
}
