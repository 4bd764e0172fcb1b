/** The broker as a list of parts: they are started in this order, and stopped in the reverse. */
import { join } from 'node:path';
import { VERSION } from '@meshpass/identity/version';
import { createLosses } from './attest/github/losses.ts';
import { persistLosses } from './attest/github/stored-losses.ts';
import { fileSink } from './audit/checkpoint/sink.ts';
import { createChain } from './audit/log/chain.ts';
import { createCheckpointSigner, signFirst } from './audit/log/checkpoint-signer.ts';
import { auditContext, namedRules } from './audit/log/context.ts';
import { createJournal } from './audit/log/journal.ts';
import { createRefusalMeter } from './audit/log/refusal-meter.ts';
import { createControlChannel } from './channel/control.ts';
import { seconds } from './clock/clock.ts';
import type { BrokerConfig } from './config.ts';
import { startWatching } from './github/watch.ts';
import { listenTls } from './http/listen.ts';
import { rootLives } from './istiod/roots.ts';
import { openOperatorSessions } from './operator/sessions.ts';
import { keepInForce } from './policy/in-force.ts';
import { recordPolicy } from './policy/record.ts';
import { watchPolicy } from './policy/watch.ts';
import { deniesEnded } from './session/deny-ended.ts';
import { principalsOfLostSessions } from './session/deny-lost.ts';
import { dropLost } from './session/drop-lost.ts';
import { createFeed } from './session/feed.ts';
import { startGaining } from './session/gain/queue.ts';
import { createLeases } from './session/leases.ts';
import { createLiveIndex, type Live } from './session/live.ts';
import { recheckOnChange, recheckSession } from './session/recheck.ts';
import { createReportedRefusals } from './session/reported-refusals.ts';
import { restore } from './session/restore.ts';
import { createRevocations } from './session/revocations.ts';
import type { GainCause } from './session/session.ts';
import { startSweeping } from './session/sweep.ts';
import { gainById, type WidenContext } from './session/widen.ts';
import { createRecentLogouts, storedLogouts } from './sign-in/recent-logouts.ts';
import { sweepSignIns } from './sign-in/sign-in.ts';
import { createTakenLogouts } from './sign-in/taken-logouts.ts';
import { startApprovals } from './start/approvals.ts';
import { createApps } from './start/apps.ts';
import { recordStart } from './start/lifecycle.ts';
import { operatorWarnings } from './start/operator-warnings.ts';
import { type Base, type Broker, type BrokerParts, createBase } from './start/parts.ts';
import { readSecrets } from './start/secrets.ts';
import { becomeActive, sharedSettings, startStandby, waitForAuditLog, waitForLeadership } from './start/standby.ts';
import { superseded } from './store/leader-guard.ts';
import { createRotation } from './token/rotation.ts';
import { createConfigurations } from './xds/configurations.ts';
import { openVersions } from './xds/versions.ts';

export type { Broker, BrokerParts } from './start/parts.ts';

const STOP_PATIENCE_MS = 10_000;
const OPERATOR_STOP_PATIENCE_MS = 1_000;
const ANNOUNCE_MS = 2_000;

/**
 * Resolves once this broker is the active one: on PostgreSQL it is a standby for as long as another is, and only its operator
 * listener answers.
 * @throws MeshpassError `config_invalid`, `store_unavailable`, those of admitLog(); the reason of the signal
 */
export async function serveBroker(config: BrokerConfig, given: BrokerParts): Promise<Broker> {
  const base = createBase(config, given);
  const parts = new AsyncDisposableStack();
  try {
    return await start(base, parts);
  } catch (thrown) {
    await parts.disposeAsync().catch(base.failed('stop'));
    throw thrown;
  }
}

async function start(base: Base, parts: AsyncDisposableStack): Promise<Broker> {
  const { config, given, clock, random, log, metrics, failed } = base;
  const { mesh, signer } = given;
  // The process before this one has ended by now; the store takes its time to open, so that agents hardly notice.
  const beganAt = seconds(clock);

  // Standby: nothing is written, and only operators and probes are answered.
  const secrets = await readSecrets(base);
  const standby = await startStandby(base);
  const { operator } = standby;
  parts.defer(() => operator.stop(0));
  const leadership = await waitForLeadership(base, standby, sharedSettings(base, secrets));
  const { store, waited } = leadership;
  parts.defer(store.close);
  // While it waited, the other broker accepted proofs.
  const startedAt = waited ? seconds(clock) : beganAt;
  const key = secrets.auditKey;
  const checkpointFile = config.auditCheckpointFile ?? join(config.dataDir, 'audit-checkpoint');
  const sinks = [fileSink(checkpointFile, key.verifiers), ...(given.checkpointSinks ?? [])];
  const admitted = await waitForAuditLog(base, standby, { store, key, sinks });
  await becomeActive(base, leadership);

  // Active. First what writes: it is stopped when nothing else has anything to write.
  const { losses = createLosses(clock), live = createLiveIndex() } = given;
  const storedLosses = await persistLosses(store, losses, failed('store'));
  parts.defer(storedLosses.stop);
  parts.defer(() => operator.stop(OPERATOR_STOP_PATIENCE_MS));
  const chain = createChain(store.db, {
    verifiers: admitted.key.verifiers,
    known: admitted.inForce.map(({ checkpoint }) => checkpoint),
  });
  const checkpoints = createCheckpointSigner({
    ...{ db: store.db, chain, key: admitted.key, sinks, before: admitted.known.newest?.note, clock },
    onFailure: failed('audit'),
  });
  if (admitted.isNew) await signFirst(checkpoints);
  parts.defer(checkpoints.start(config.auditCheckpointSeconds));
  const denies = deniesEnded(config.denyEnded);
  const restored = await restore(store, clock, config, denies);
  for (const one of restored.sessions) live.add(one);
  const leases = createLeases({ store, live, clock, terms: config, onFailure: failed('store') });
  parts.defer(leases.stop);
  const journal = createJournal({ store, chain, observe: metrics.batch, onFailure: failed('store') });
  parts.defer(journal.flush);
  parts.defer(await recordStart(base, { store, journal, live, restored, admitted }));
  await checkpoints.sign().catch(failed('audit'));
  const meter = createRefusalMeter({ journal, clock, random, onMetered: metrics.metered, onFailure: failed('audit') });
  parts.defer(meter.start());
  const ruleOf = namedRules(mesh);
  const reportedRefusals = createReportedRefusals({
    ...{ journal, clock, random, mesh, ruleOf, ended: live.endedById, onFailure: failed('audit') },
  });
  parts.defer(reportedRefusals.start());
  const audit = auditContext({ journal, clock, meter, ruleOf, metrics, log });

  // Then what acts on sessions, and what accepts requests. All of it is stopped at once when another broker takes over.
  const acting = parts.use(new AsyncDisposableStack());
  const lost = await principalsOfLostSessions(store, given.revoker, clock, {
    ...{ onFailure: failed('revoker'), signal: given.signal },
  });
  const revocations = createRevocations({
    ...{ revoker: given.revoker, clock, initial: [...restored.revoked, ...lost], onFailure: failed('revoker') },
  });
  acting.defer(revocations.stop);
  const configurations =
    given.relay &&
    createConfigurations({
      ...{ source: given.relay, mesh, live, versions: await openVersions(store, clock) },
      ...{ random: Math.random, onFailure: failed('istiod') },
    });
  if (configurations) acting.defer(configurations.stop);
  const control = createControlChannel({
    ...{ live, leases, audit, signer, clock, random, startedAt, answers: { config, mesh } },
    ...{ source: given.configurations ?? configurations, onFailure: failed('store') },
  });
  const feed = createFeed(live, mesh, clock, store.isLeader, control.announcer);
  acting.defer(feed.stop);
  const { authorize } = given;
  const sessions = {
    ...{ live, journal, feed, revocations, denies, clock, random, tokenSeconds: config.tokenSeconds },
    ...{ authorize, mesh, losses, onClosed: metrics.closed, onFailure: failed('session') },
    ...{ audit, trustDomain: config.trustDomain, widening: new Map() },
    onGained: (one: Live, cause: GainCause) => {
      metrics.gained(cause);
      // istiod is asked now, so that it has answered when the agent asks.
      configurations?.current(one.session);
    },
  } satisfies WidenContext;
  // What became known about a session's holder since it was opened is not in what it was opened with.
  for (const one of restored.sessions)
    await dropLost(sessions, one, (fact) => losses.isLost(fact, one.session.openedAt));
  // The access file may have changed while no broker ran.
  if (mesh.inForce()) for (const one of restored.sessions) await recheckSession(sessions, one);
  acting.defer(recheckOnChange(sessions));
  const gains = startGaining(sessions, store.isLeader);
  acting.defer(gains.stop);
  const signIns = {
    ...{ ...sessions, attestSignIn: given.attestSignIn, mutex: new Map(), onSignIn: metrics.signIn },
    recentLogouts: createRecentLogouts(clock, await storedLogouts(store, clock)),
    takenLogouts: createTakenLogouts({ store, clock, startedAt }),
  };
  acting.defer(
    startSweeping({ ...sessions, sweepSignIns: () => sweepSignIns(signIns), store, revoker: given.revoker, gains }),
  );
  const { approvals, stop: stopApprovals } = await startApprovals(base, store, sessions, gains);
  acting.defer(stopApprovals);
  const record = recordPolicy(sessions, log, keepInForce(store, failed('store')));
  given.onPolicyDecision?.(record.decision);
  const policyWatch =
    given.policy && watchPolicy({ mesh: given.policy.mesh, onFailure: failed('policy'), onFinding: record.finding });
  if (policyWatch) acting.defer(policyWatch.stop);
  const rotation = await createRotation({
    ...{ audit, signer, mesh, journal, clock, random, onFailure: failed('rotation') },
    tokenSeconds: config.tokenSeconds,
    ageSeconds: config.signingKeyAgeSeconds,
    waitSeconds: config.signingKeyWaitSeconds,
  });
  acting.defer(rotation.start());
  const announce = () => void store.announce(sharedSettings(base, secrets)).catch(failed('store'));
  const announcing = setInterval(announce, ANNOUNCE_MS).unref();
  acting.defer(() => clearInterval(announcing));
  const github =
    given.github &&
    startWatching({
      ...{ ...given.github, sessions, onFailure: failed('github') },
      ...{ sweepSeconds: config.githubSweepSeconds, memberSeconds: config.githubMemberSeconds },
    });
  if (github) acting.defer(github.stop);

  const operatorSessions = await openOperatorSessions(store, clock);
  const stopping = { begun: false, patienceMs: 0 };
  const apps = createApps(base, {
    ...{ secrets, store, startedAt, journal, chain, checkpoints, auditKey: admitted.key, audit },
    ...{
      live,
      leases,
      sessions,
      gains,
      feed,
      control,
      revocations,
      denies,
      rotation,
      github,
      operator,
      configurations,
    },
    ...{ reportedRefusals, approvals, operatorSessions, signIns },
    stopping: () => stopping.begun,
  });
  const listener = await listenTls(apps.publicApp, config.listen, {
    ...{ files: config.tls, connections: apps.connections, onFailure: failed('tls') },
  });
  acting.defer(() => listener.stop(stopping.patienceMs));
  acting.defer(() => {
    stopping.begun = true;
    for (const stream of apps.streams) stream.end();
  });
  metrics.measure({
    isActive: store.isLeader,
    liveSessions: live.size,
    pendingRevocations: revocations.pending,
    signingSince: () => signer.ring.signing.since,
    certificate: listener.certificate,
    roots: () => rootLives(mesh.roots()),
    policyDrift: () => given.policy?.mesh.drift(),
    policyFindings: () => policyWatch?.findings().length,
    emergencyReviews: approvals.reviews,
    configurationStreams: () => configurations?.streams() ?? 0,
    configurationLeftOut: () => configurations?.leftOut() ?? [],
    github: {
      sweepAge: () => github?.sweepAge(),
      memberAge: () => github?.memberAge(),
      callsLeft: () => github?.callsLeft(),
    },
  });
  operator.show(apps.operatorApp);
  if (config.breakGlass)
    log.warn('break-glass is on: whoever has the operator token may do nearly everything, without a name');
  for (const warning of operatorWarnings(config, mesh)) log.warn(warning);
  log.info(
    {
      version: VERSION,
      ...{ port: listener.port, operatorPort: operator.port, store: store.kind, restored: live.size() },
    },
    'serving',
  );

  /** Nothing is written any more: it would be refused. The operator listener answers until the process ends. */
  const stepDown = async () => {
    log.fatal({ epoch: store.epoch }, 'another broker has taken over: this one accepts no more requests, and exits');
    await acting.disposeAsync();
    await storedLosses.stop();
    return superseded();
  };
  let closed: Promise<void> | undefined;
  const close = async () => {
    stopping.patienceMs = STOP_PATIENCE_MS;
    await parts.disposeAsync();
    log.info('stopped');
  };
  return {
    ...{ port: listener.port, operatorPort: operator.port, feed, control },
    reportEdgeDecisions: apps.recordEdgeDecisions,
    gain: (id, grant, request) => gainById(sessions, id, grant, request),
    revocationsSettled: revocations.settled,
    lost: store.lost.then(stepDown),
    close: () => {
      closed ??= close();
      return closed;
    },
  };
}
