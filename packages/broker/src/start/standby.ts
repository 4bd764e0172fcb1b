/**
 * Waits until this broker becomes active. Until then, it does not write anything, and only its operator listener
 * responds.
 */
import { hostname } from 'node:os';
import { createStoredAccessReader, parseAppliedAccess, readNewestVersion, readStoredAccess } from '../admin/index.ts';
import { retryWhileUnavailable } from '../base/index.ts';
import { claimKeys } from '../core/index.ts';
import { type LeaderRecord, openStore, type SharedSettings, type Store } from '../store/index.ts';
import { createStandbyApp, listenForOperators } from './operator-app.ts';
import type { Base } from './parts.ts';
import type { Secrets } from './secrets.ts';

/** A broker that is waiting to become active. */
export type Standby = Awaited<ReturnType<typeof startStandby>>;

/** The state of the broker that is currently active. */
export interface ActiveBroker {
  /**
   * Whether the active broker's access file was applied from a plan. If so, the next active broker continues with that
   * file instead of the one on disk.
   */
  readonly isPlanned: boolean;
  /** The reason why this version of Meshpass rejects that file, if it does. */
  readonly refused?: string | undefined;
  /**
   * Whether the store contains the access file that is in force and this version of Meshpass accepts it. That file is
   * the fallback if the file on disk is rejected.
   */
  readonly isKept?: boolean;
}

/** Opens the operator listener, which reports why this broker is not active yet. */
export async function startStandby({ config, given, metrics, log }: Base) {
  let waitsFor = 'the store is being opened';
  let behind: ActiveBroker | undefined;
  const reasons = () => [waitsFor, ...(behind?.refused ? [behind.refused] : []), ...given.mesh.unready()];
  // A broker that cannot see the cluster or load an access file must not be considered ready. Otherwise, a rolling
  // update would replace a broker that can do both.
  const couldTakeOver = () =>
    behind !== undefined &&
    given.mesh.unseen().length === 0 &&
    (behind.isPlanned
      ? behind.refused === undefined
      : behind.isKept === true || given.mesh.fileProblem() === undefined);
  const app = createStandbyApp(metrics, reasons, couldTakeOver);
  return {
    operator: await listenForOperators(app, config.operator),
    /** Sets the reason for waiting that probes and operators see. A new reason is also logged. */
    waitFor: (reason: string, detail: object, active?: ActiveBroker) => {
      if (reason !== waitsFor) log.info(detail, reason);
      if (active?.refused && active.refused !== behind?.refused) log.error(active.refused);
      waitsFor = reason;
      behind = active;
    },
  };
}

/** Returns the current values of the settings that must be the same on all brokers that share a store. */
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
 * Resolves when this broker is the leader. With the embedded store, it is the leader immediately. With PostgreSQL, it
 * becomes the leader once no other broker is active.
 * @throws MeshpassError `config_invalid`, `store_unavailable`, `store_newer`, `store_older`; the signal's abort reason
 */
export async function waitForLeadership(base: Base, { waitFor }: Standby, shared: SharedSettings) {
  const { config, given, metrics } = base;
  const readStored = createStoredAccessReader();
  let waited = false;
  const store = await openStore({
    dataDir: config.dataDir,
    databaseUrl: config.databaseUrl,
    startEngine: given.startEngine,
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
    /** Whether this broker had to wait because another broker was active. */
    waited,
  };
}

/**
 * Waits until it is safe to append to the audit log. This can only be determined from the signed checkpoint, so the
 * request is retried if the checkpoint storage does not respond.
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
 * Makes this broker the active one and puts the previous broker's changes into force.
 * @throws MeshpassError `store_unavailable` if another broker may have become active; `access_*` if this version
 *   rejects the access file that was applied from a plan
 */
export async function becomeActive(
  base: Base,
  { waitFor }: Standby,
  { store }: Awaited<ReturnType<typeof waitForLeadership>>,
): Promise<void> {
  const { config, given } = base;
  const { signer, policy, activeState, signal } = given;
  // The other broker may have changed the keys since this one started, so the mesh must not receive the keys that were
  // read at startup.
  const { isLeader } = store;
  await retryWhileUnavailable(() => claimKeys({ signer, tokenSeconds: config.tokenSeconds, isLeader }), {
    signal,
    onFailure: (err) => waitFor('standing by: the storage of the signing keys is not responding', { err }),
  });
  // An access file that was applied from a plan is restored first, because it is newer than the file on disk.
  const applied = policy && (await readNewestVersion(store.db));
  if (applied) policy.mesh.resume(parseAppliedAccess(applied));
  const kept = await readStoredAccess(store.db);
  if (kept) given.mesh.wasInForce(kept);
  activeState?.activate(isLeader);
}

function nameOf(active: LeaderRecord | undefined): string {
  return active ? `broker ${active.instance}` : 'another broker';
}
