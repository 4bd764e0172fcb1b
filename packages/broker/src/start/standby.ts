/** The time before this broker is the active one: only the operator listener answers, and nothing is written. */
import { hostname } from 'node:os';
import type { CheckpointSink } from '../audit/checkpoint/sink.ts';
import { type AdmittedLog, admitLog } from '../audit/restore/admit.ts';
import { createAdoption } from '../audit/restore/adopt.ts';
import { createStandbyApp, listenForOperators, type OperatorListener } from '../http/standby.ts';
import { untilItAnswers } from '../kubernetes/until-it-answers.ts';
import { createAppliedCheck, readNewest, toAccess } from '../policy/applied.ts';
import { readInForce } from '../policy/in-force.ts';
import type { LeaderRecord, Shared } from '../store/leader-record.ts';
import { openStore, type Store } from '../store/open.ts';
import type { Base } from './parts.ts';
import type { Secrets } from './secrets.ts';

export interface Standby {
  readonly operator: OperatorListener;
  /** Changes the reason that probes and operators are told, and logs it where it is new. */
  readonly waitFor: (reason: string, detail: object, active?: ActiveBroker) => void;
}

/** What is known of the broker that is active, where one is. */
export interface ActiveBroker {
  /** It has an access file that was applied by plan: whoever takes over goes on with that, not with the one on disk. */
  readonly isPlanned: boolean;
  /** Why this version does not accept that file. */
  readonly refused?: string | undefined;
}

export async function startStandby({ config, given, metrics, log }: Base): Promise<Standby> {
  let waitsFor = 'the store is being opened';
  let behind: ActiveBroker | undefined;
  const reasons = () => [waitsFor, ...(behind?.refused ? [behind.refused] : []), ...given.mesh.unready()];
  // One that cannot see the cluster, or put its access file in force, must not count as ready: an update would go on, and replace the one that can.
  const couldTakeOver = () =>
    behind !== undefined &&
    given.mesh.unseen().length === 0 &&
    (behind.isPlanned ? behind.refused === undefined : given.mesh.fileProblem() === undefined);
  const app = createStandbyApp({ metrics, reasons, couldTakeOver });
  return {
    operator: await listenForOperators(app, config.operator),
    waitFor: (reason, detail, active) => {
      if (reason !== waitsFor) log.info(detail, reason);
      if (active?.refused && active.refused !== behind?.refused) log.error(active.refused);
      waitsFor = reason;
      behind = active;
    },
  };
}

/** What all brokers of one store must have in common, as it is now. */
export function sharedSettings({ config, given }: Base, { auditKey }: Secrets): Shared {
  const { publicUrl, trustDomain, tokenAudience } = config;
  const { keys } = JSON.parse(given.signer.jwks) as { keys: { kid: string }[] };
  return {
    ...{ publicUrl, trustDomain, tokenAudience },
    signingKeys: keys.map(({ kid }) => kid),
    auditKeys: auditKey.verifiers.map(({ text }) => text),
  };
}

export interface Leadership {
  readonly store: Store;
  /** Whether another broker was active until now. */
  readonly waited: boolean;
}

/**
 * Resolves when this is the active broker: at once, or on PostgreSQL when no other one is.
 * @throws MeshpassError `config_invalid`, `store_unavailable`, `store_newer`; the reason of the signal
 */
export async function waitForLeadership(base: Base, { waitFor }: Standby, shared: Shared): Promise<Leadership> {
  const { config, given, metrics } = base;
  const refusedOf = createAppliedCheck();
  let waited = false;
  const store = await openStore({
    ...{ dataDir: config.dataDir, databaseUrl: config.databaseUrl, signal: given.signal },
    self: { instance: `${hostname()} process ${process.pid}`, shared },
    onWaiting: ({ active, applied, inForce }) => {
      waited = true;
      if (inForce !== undefined) given.mesh.wasInForce(inForce);
      const detail = { active: active?.instance, since: active?.since };
      const planned = given.policy && applied;
      waitFor(`standing by: ${nameOf(active)} is active`, detail, {
        ...{ isPlanned: planned !== undefined, refused: planned && refusedOf(planned) },
      });
    },
    onFailure: (err) => {
      metrics.failure('store');
      waitFor('standing by: the store does not answer', { err });
    },
  });
  return { store, waited };
}

/**
 * Whether the audit log may be extended. Without its signed checkpoint nobody can tell, so a sink that does not answer is waited for.
 * @throws MeshpassError those of admitLog(); the reason of the signal
 */
export async function waitForAuditLog(
  { given, clock, random }: Base,
  { waitFor }: Standby,
  { store, key, sinks }: { store: Store; key: Secrets['auditKey']; sinks: readonly CheckpointSink[] },
): Promise<AdmittedLog> {
  const adopt = createAdoption({ store, key, sinks, clock, random });
  const admit = async () => {
    await adopt();
    return await admitLog(store.db, key, sinks);
  };
  return await untilItAnswers(admit, {
    signal: given.signal,
    onFailure: (err) => waitFor("standing by: the place of the audit log's checkpoint does not answer", { err }),
  });
}

/**
 * From here on this is the active broker, and what the one before it changed is in force here, too.
 * @throws MeshpassError `access_*` where this version refuses the access file that was applied by plan
 */
export async function becomeActive({ given }: Base, { store, waited }: Leadership): Promise<void> {
  const { signer, policy, activeState } = given;
  // The other broker may have changed its keys; the mesh must not be told of those that were read at the start.
  if (waited) signer.adopt(await signer.read());
  // The access file that was applied last is in force again, before anything is applied: the one on disk is older.
  const applied = policy && (await readNewest(store.db));
  if (applied) policy.mesh.resume(toAccess(applied));
  const inForce = await readInForce(store.db);
  if (inForce !== undefined) given.mesh.wasInForce(inForce);
  activeState?.activate(store.isLeader);
}

function nameOf(active: LeaderRecord | undefined): string {
  return active ? `the broker ${active.instance}` : 'another broker';
}
