/** Waits until this broker is active. Until then, it writes nothing and only its operator listener responds. */
import { hostname } from 'node:os';
import { createStoredAccessReader, parseAppliedAccess, readNewestVersion, readStoredAccess } from '../admin/index.ts';
import { retryWhileUnavailable } from '../base/index.ts';
import { claimKeys } from '../core/index.ts';
import { type LeaderRecord, openStore, type SharedSettings, type Store } from '../store/index.ts';
import { createStandbyApp, listenForOperators } from './operator-app.ts';
import type { Base } from './parts.ts';
import type { Secrets } from './secrets.ts';

/** Broker that is waiting to become active. */
export type Standby = Awaited<ReturnType<typeof startStandby>>;

/** State of the active broker, if one exists. */
export interface ActiveBroker {
  /**
   * Whether a plan applied its access file. The next active broker then continues with that file instead of the one on
   * disk.
   */
  readonly isPlanned: boolean;
  /** Reason that this version of Meshpass refuses that file. */
  readonly refused?: string | undefined;
  /**
   * Whether the store contains the access file in force and this version accepts its text. That file is the fallback if
   * the file on disk is refused.
   */
  readonly isKept?: boolean;
}

/** Opens the operator listener, which reports why the broker is waiting. */
export async function startStandby({ config, given, metrics, log }: Base) {
  let waitsFor = 'the store is being opened';
  let behind: ActiveBroker | undefined;
  const reasons = () => [waitsFor, ...(behind?.refused ? [behind.refused] : []), ...given.mesh.unready()];
  // A broker that cannot see the cluster or load an access file must not count as ready. Otherwise a rolling update
  // would replace the broker that can do both.
  const couldTakeOver = () =>
    behind !== undefined &&
    given.mesh.unseen().length === 0 &&
    (behind.isPlanned
      ? behind.refused === undefined
      : behind.isKept === true || given.mesh.fileProblem() === undefined);
  const app = createStandbyApp(metrics, reasons, couldTakeOver);
  return {
    operator: await listenForOperators(app, config.operator),
    /** Changes the reason that probes and operators see, and logs it if it is new. */
    waitFor: (reason: string, detail: object, active?: ActiveBroker) => {
      if (reason !== waitsFor) log.info(detail, reason);
      if (active?.refused && active.refused !== behind?.refused) log.error(active.refused);
      waitsFor = reason;
      behind = active;
    },
  };
}

/** Returns the current settings. All brokers that use the same store must share them. */
export function sharedSettings({ config, given }: Base, { auditLog }: Secrets): SharedSettings {
  const { publicUrl, trustDomain, tokenAudience } = config;
  const { keys } = JSON.parse(given.signer.jwks) as { keys: { kid: string }[] };
  return {
    publicUrl,
    trustDomain,
    tokenAudience,
    signingKeys: keys.map(({ kid }) => kid),
    auditKeys: [...auditLog.verifiers],
  };
}

/**
 * Resolves when this broker is active: immediately, or on PostgreSQL once no other broker is active.
 * @throws MeshpassError `config_invalid`, `store_unavailable`, `store_newer`, `store_older`; the signal's abort reason
 */
export async function waitForLeadership(base: Base, { waitFor }: Standby, shared: SharedSettings) {
  const { config, given, metrics } = base;
  const readStored = createStoredAccessReader();
  let waited = false;
  const store = await openStore({
    dataDir: config.dataDir,
    databaseUrl: config.databaseUrl,
    signal: given.signal,
    self: { instance: `${hostname()} process ${process.pid}`, shared },
    onWaiting: ({ active, access }) => {
      waited = true;
      const { kept, refused } = readStored(access);
      if (kept) given.mesh.wasInForce(kept);
      const detail = { active: active?.instance, since: active?.since };
      const isPlanned = given.policy !== undefined && access.applied !== undefined;
      waitFor(`standing by: ${nameOf(active)} is active`, detail, {
        isPlanned,
        refused: isPlanned ? refused : undefined,
        isKept: kept?.access !== undefined,
      });
    },
    onFailure: (err) => {
      metrics.failure('store');
      waitFor('standing by: the store is not responding', { err });
    },
  });
  return {
    store,
    /** Whether another broker was active until now. */
    waited,
  };
}

/**
 * Waits until the audit log may be extended. Its signed checkpoint is needed to determine this, so an unresponsive sink
 * is retried.
 * @throws errors from verifyStoredLog(); the signal's abort reason
 */
export async function waitForAuditLog(
  { given }: Base,
  { waitFor }: Standby,
  store: Store,
  closed: Secrets['auditLog'],
) {
  return await retryWhileUnavailable(() => closed.admit(store.db), {
    signal: given.signal,
    onFailure: (err) => waitFor('standing by: the storage of the audit log checkpoint is not responding', { err }),
  });
}

/**
 * Makes this broker active and puts the previous broker's changes in force.
 * @throws MeshpassError `store_unavailable` if another broker may have become active; `access_*` if this version
 *   refuses the access file that a plan applied
 */
export async function becomeActive(
  base: Base,
  { waitFor }: Standby,
  { store }: Awaited<ReturnType<typeof waitForLeadership>>,
): Promise<void> {
  const { config, given } = base;
  const { signer, policy, activeState, signal } = given;
  // The other broker may have changed its keys. The mesh must not receive the keys that were read at startup.
  const { isLeader } = store;
  await retryWhileUnavailable(() => claimKeys({ signer, tokenSeconds: config.tokenSeconds, isLeader }), {
    signal,
    onFailure: (err) => waitFor('standing by: the storage of the signing keys is not responding', { err }),
  });
  // The access file that was last applied by a plan is restored first, because the file on disk is older.
  const applied = policy && (await readNewestVersion(store.db));
  if (applied) policy.mesh.resume(parseAppliedAccess(applied));
  const kept = await readStoredAccess(store.db);
  if (kept) given.mesh.wasInForce(kept);
  activeState?.activate(isLeader);
}

function nameOf(active: LeaderRecord | undefined): string {
  return active ? `broker ${active.instance}` : 'another broker';
}
