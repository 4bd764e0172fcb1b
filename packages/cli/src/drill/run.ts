/**
 * Runs a drill: it opens a session, uses all of its credentials, ends the session, and uses the credentials again. A
 * credential that worked before and is now refused is dead. A credential that is still accepted is stale and causes the
 * drill to fail.
 */
import { setTimeout as pause } from 'node:timers/promises';
import type { ProofSource } from '@meshpass/agent/session/discover';
import { MeshpassError } from '@meshpass/identity';
import type { DrillCause, DrillLayer, DrillReport, DrillRow, RecordedSession } from '@meshpass/identity/drill-report';
import { decodeJwt } from 'jose';
import { type Attempt, attemptAfterCause, attemptAgain, attemptBeforeCause, row } from './attempt.ts';
import { call } from './call.ts';
import { end, type Operator, STORED_CLOSE_CAUSES } from './causes.ts';
import type { Cluster } from './cluster.ts';
import { holdConnections, waitUntilDead } from './hold-open.ts';
import { holdKubernetesConnections, kubernetesAttempts } from './kubernetes.ts';
import {
  brokerReplayAttempts,
  edgeReplayAttempts,
  findPod,
  type InClusterAddresses,
  inClusterAttempts,
  waysInside,
} from './replays.ts';
import { type DrillSession, type DrillSessionOptions, openDrillSession, renewalVerdict } from './session.ts';
import { chooseTargets, shortName, type Target, type TargetOptions } from './targets.ts';

export interface DrillOptions extends DrillSessionOptions {
  readonly proofs: ProofSource;
  readonly cause: DrillCause;
  /** Whether to open another session for the same workspace afterwards. */
  readonly rebuild: boolean;
  /** How long to wait for the session to be ended from outside, in milliseconds. */
  readonly wait: number;
  readonly choice: TargetOptions;
  readonly inside: InClusterAddresses;
  readonly operator?: Operator | undefined;
  readonly cluster?: Cluster | undefined;
  readonly progress: (what: string) => void;
}

/** How long the edge and the broker may take to refuse the credentials of a session that has been explicitly ended. */
const EDGE_LIMIT_MS = 2_000;
/**
 * How long the edge and the broker may take to refuse the credentials of a session whose lease has lapsed. Leases have
 * a resolution of one second and are checked every second.
 */
const LAPSE_LIMIT_MS = 3_000;
/** How long istiod may take to configure the gateway and the sidecars after a grant is applied or a Pod is started. */
const PUSH_PATIENCE_MS = 20_000;
const PUSH_PAUSE_MS = 250;

/**
 * Runs a drill.
 * @throws MeshpassError with the broker's error code if the session cannot be opened, or `drill_proves_nothing` if no
 *   call passes the edge before the session ends
 */
export async function runDrill(options: DrillOptions): Promise<DrillReport> {
  const startedAt = new Date().toISOString();
  const { progress, cause, cluster, operator } = options;
  progress('opening a session');
  const held = await openDrillSession(options, await options.proofs.proof());
  let second: DrillSession | undefined;
  let beating: NodeJS.Timeout | undefined;
  try {
    const { session, mesh, services } = held;
    const targets = chooseTargets(services, options.choice);
    const limit = cause === 'lapse' ? LAPSE_LIMIT_MS : EDGE_LIMIT_MS;
    const svids = [...held.svids.values()];

    progress('using all its credentials');
    const reviews = await cluster?.tokenReviews(svids);
    const attempts: Attempt[] = [
      ...brokerReplayAttempts(held),
      ...edgeReplayAttempts(held, targets),
      ...kubernetesAttempts(held),
      ...inClusterAttempts(held, targets, options.inside),
      ...(reviews?.attempts ?? []),
      ...(cluster?.remains(svids) ?? []),
      ...(operator ? [inTheStore(operator, session.id, cause)] : []),
    ];
    const patience = {
      limit: PUSH_PATIENCE_MS,
      between: async () => {
        await pause(PUSH_PAUSE_MS);
        await renewalVerdict(held);
      },
    };
    const before = await attemptBeforeCause(attempts, patience);
    if (!before.rows.some(({ layer }) => layer === 'edge'))
      throw new MeshpassError('drill_proves_nothing', `No call passes the edge: ${[...before.unfit.values()][0]}.`);
    const hold = { caller: held, patience };
    const atEdge = { ...hold, layer: 'edge', way: { edge: mesh.edge } } as const;
    const open = (await Promise.all(targets.map((target) => holdConnections(atEdge, target)))).flat();
    open.push(...(await holdKubernetesConnections(held)));
    const ways = targets.flatMap((target) => waysInside(target, options.inside).map((way) => ({ target, ...way })));
    for (const { target, layer, straightTo } of ways)
      open.push(...(await holdConnections({ ...hold, layer, way: { straightTo } }, target)));

    progress(`ending it: ${cause}`);
    const rebuild = async () => {
      second ??= await openAgain(options);
      const fresh = second;
      // Keep renewing the lease of the new session, because the remaining checks may take longer than a lease lasts.
      beating ??= setInterval(() => void renewalVerdict(fresh), fresh.session.heartbeat_seconds * 1000);
    };
    const at = await end(cause, { held, operator, rebuild, wait: options.wait });
    const [connections, replays] = await Promise.all([
      waitUntilDead(open, at, limit),
      attemptAfterCause(attempts, before.unfit, at, limit),
    ]);
    for (const one of open) if ('end' in one) one.end();
    const rows = [...before.rows, ...connections, ...replays, ...(reviews?.rows ?? []), ...untried(options, targets)];

    if (options.rebuild || cause === 'rebuild') {
      progress('opening a session of the same workspace again');
      await rebuild();
      rows.push(...(await rebuilt(held, second!, targets)), ...(await attemptAgain(attempts, before.unfit)));
    }
    const { id, subject, login, workspace, grants } = session;
    const recorded = await operator?.recorded(id);
    return {
      version: 1,
      broker: options.broker,
      started_at: startedAt,
      ended_at: new Date().toISOString(),
      cause,
      session: { id, subject, login, workspace, grants },
      principals: svids.map(({ spiffeId }) => spiffeId),
      rows: markUndeniedRows(rows, recorded),
    };
  } finally {
    clearInterval(beating);
    for (const one of [held, second]) {
      await one?.client.goodbye(one.accessToken).catch(() => undefined);
      one?.client.close();
    }
  }
}

async function openAgain(options: DrillOptions): Promise<DrillSession> {
  const { proofs } = options;
  return await openDrillSession(options, await proofs.proof()).catch((thrown: MeshpassError) => {
    if (proofs.kind !== 'file' || thrown.code !== 'proof_replayed') throw thrown;
    throw new MeshpassError(
      'usage',
      'A rebuild requires a second proof, and a proof file contains only one. Run the drill in a Codespace.',
    );
  });
}

function inTheStore(operator: Operator, session: string, cause: DrillCause): Attempt {
  return {
    layer: 'store',
    tried: `session ${session}`,
    part: 'left',
    use: async () => {
      const { closed_at: closedAt, close_cause: recorded } = await operator.recorded(session);
      if (closedAt === null) return { verdict: 'taken', how: 'open' };
      const expected = cause === 'outside' ? recorded : STORED_CLOSE_CAUSES[cause];
      if (recorded !== expected) return { verdict: 'unclear', how: `closed by ${recorded}, not by ${expected}` };
      return { verdict: 'refused', how: `closed at ${closedAt}: ${recorded}` };
    },
  };
}

/** Returns a row for each attempt that needs a service, an address inside the cluster, a kubeconfig or an operator. */
function untried({ cluster, operator, inside }: DrillOptions, targets: readonly Target[]): DrillRow[] {
  const rows: DrillRow[] = [];
  const not = (part: DrillRow['part'], layer: DrillLayer, tried: string, needed: string) =>
    rows.push(row(part, { layer, tried }, 'not_tried', `requires ${needed}`));
  const none = (tried: string) =>
    rows.push(
      row('connections', { layer: 'edge', tried }, 'not_tried', 'no granted service of this kind has a workload'),
    );
  if (!targets.some(({ path }) => path !== undefined)) {
    none('open HTTP/1.1 keep-alive connection');
    none('open HTTP/2 stream');
  }
  if (!targets.some(({ path }) => path === undefined)) none('open TCP connection');
  const within = 'running inside the cluster with';
  if (!inside.gateway)
    not('replays', 'mesh gateway', 'SVID and identity token, past the edge', `${within} --inside-gateway`);
  for (const name of targets.filter((target) => !findPod(target, inside.pods)).map(shortName)) {
    const tried = `SVID and identity token, straight to a pod of ${name}`;
    not('replays', 'sidecar', tried, `${within} --inside-pod ${name}=ADDRESS`);
  }
  if (!cluster) {
    not('replays', 'TokenReview', 'token of the ServiceAccount', '--kubeconfig');
    not('left', 'ServiceAccount', 'that it is deleted', '--kubeconfig');
    not('left', 'root DENY', 'that it contains the principals', '--kubeconfig');
  }
  if (!operator) not('left', 'store', 'that the session is recorded as closed', 'meshpass login, as an operator');
  return rows;
}

// The following code creates the rows about the rebuilt workspace. Its new credentials must work, and the old identity
// token must not give it any additional access.

/**
 * Uses the credentials of the new session, and then the old identity token on a connection with the new certificate.
 * @param old the session that has ended
 * @param fresh the new session of the same workspace
 */
async function rebuilt(old: DrillSession, fresh: DrillSession, targets: readonly Target[]): Promise<DrillRow[]> {
  const way = { edge: fresh.mesh.edge };
  const rows: DrillRow[] = [];
  const renewed = await renewalVerdict(fresh);
  const renewal = { layer: 'session renewal', tried: `new session ${fresh.session.id}` } as const;
  rows.push(row('rebuild', renewal, renewed.verdict === 'taken' ? 'lives' : 'broken', renewed.how));
  for (const target of targets) {
    const presented = { svid: true, identityToken: target.path !== undefined };
    const { verdict, how } = await call(fresh, target, way, presented);
    const about = { layer: 'edge', tried: `new credentials, ${shortName(target)}` } as const;
    rows.push(row('rebuild', about, verdict === 'taken' ? 'lives' : 'broken', how));
  }
  const http = targets.find((target) => target.path !== undefined);
  if (http) {
    const mixed = { ...fresh, identityToken: old.identityToken };
    const { verdict, how } = await call(mixed, http, way, { svid: true, identityToken: true });
    const expires = new Date((decodeJwt(old.identityToken.value).exp ?? 0) * 1000).toISOString();
    const about = { layer: 'sidecar', tried: 'old identity token on a connection of the new certificate' } as const;
    // A sidecar verifies the token offline. The call only succeeds because the connection was opened with a live
    // certificate.
    const why = `${how}; verified offline until it expires, ${expires}: worth nothing without a live certificate`;
    rows.push(verdict === 'taken' ? row('rebuild', about, 'noted', why) : row('rebuild', about, 'dead', how));
  }
  return rows;
}

// With `--deny-ended revoked`, the broker denies only revoked sessions in the mesh, so some stale rows do not fail the
// drill. The session's record shows whether the broker denied its principals. If it did not, the operator has accepted
// that an SVID can still be used inside the cluster until it expires.

/** The layers at which only the root DENY policy stops an SVID that has not expired. */
const BY_DENY: ReadonlySet<DrillLayer> = new Set(['mesh gateway', 'sidecar', 'root DENY']);

/**
 * Changes `stale` rows of these layers to `noted` if the broker did not deny any of the session's principals.
 * @param recorded the broker's record of the closed session, or undefined if the drill does not run as an operator
 */
export function markUndeniedRows(rows: readonly DrillRow[], recorded: RecordedSession | undefined): DrillRow[] {
  const { principals = [], closed_at: closedAt = null } = recorded ?? {};
  const none = principals.length > 0 && principals.every(({ denied }) => denied === false);
  if (closedAt === null || !none) return [...rows];
  const until = principals
    .flatMap(({ last_not_after: end }) => end ?? [])
    .sort()
    .at(-1);
  const why = `SVID is valid until ${until}: this broker denies only revoked sessions`;
  return rows.map((row) =>
    row.outcome === 'stale' && BY_DENY.has(row.layer)
      ? { ...row, outcome: 'noted', how: `${why} (${row.how})`.slice(0, 300) }
      : row,
  );
}
