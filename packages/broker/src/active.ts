/** The broker at work: everything it is made of, put together upon an open store, and how it stops. */
import { randomBytes } from 'node:crypto';
import type { ServerResponse } from 'node:http';
import type { Logger } from 'pino';
import { createLosses } from './attest/github/losses.ts';
import { keepLosses } from './attest/github/stored-losses.ts';
import type { CheckpointSink } from './audit/checkpoint/sink.ts';
import { createChain } from './audit/log/chain.ts';
import { createCheckpoints, signFirst } from './audit/log/checkpoint-signer.ts';
import { auditContext, namedRules } from './audit/log/context.ts';
import { auditRow, draftEvent } from './audit/log/event.ts';
import { createJournal } from './audit/log/journal.ts';
import { createMeter } from './audit/log/refusal-meter.ts';
import type { AdmittedLog } from './audit/restore/admit.ts';
import type { BrokerConfig } from './config.ts';
import { startWatching, type Watch } from './github/watch.ts';
import { createApp } from './http/app.ts';
import { createConnections } from './http/connections.ts';
import { recordEdgeDecisions } from './http/edge.ts';
import { listenTls } from './http/listen.ts';
import { createOperatorApp } from './http/operator.ts';
import { createOperators } from './http/operator-token.ts';
import type { OperatorListener } from './http/standby.ts';
import { rememberRefused } from './kubernetes/refused-tokens.ts';
import { proxyChecker, sourceReader } from './limits/source-address.ts';
import { policyChanges } from './policy/change.ts';
import { recordPolicy } from './policy/record.ts';
import { type PolicyWatch, watchPolicy } from './policy/watch.ts';
import type { Broker, BrokerParts } from './serve.ts';
import type { CloseContext } from './session/close.ts';
import { deniesEnded } from './session/deny-ended.ts';
import { createFeed } from './session/feed.ts';
import { followMesh } from './session/follow.ts';
import { createLeases } from './session/leases.ts';
import { createLiveIndex } from './session/live.ts';
import { recheckSession } from './session/recheck.ts';
import { restore } from './session/restore.ts';
import { createRevocations } from './session/revocations.ts';
import { dropLost } from './session/standing.ts';
import { startSweeping } from './session/sweep.ts';
import { superseded } from './store/leader-guard.ts';
import type { Shared } from './store/leader-record.ts';
import type { Store } from './store/open.ts';
import type { Metrics } from './telemetry/metrics.ts';
import { MAX_AGE, MAX_AHEAD } from './token/dpop.ts';
import { attestedClaims } from './token/identity-token.ts';
import { createReplayMemory } from './token/replay.ts';
import { createRotation } from './token/rotation.ts';

const STOP_PATIENCE_MS = 10_000;
const ANNOUNCE_MS = 2_000;
/** DPoP proofs remembered in a window: a thousand requests a second, and as much again. */
const REPLAY_CAPACITY = 150_000;

/** What serveBroker() has opened and read before. */
export interface Opened {
  readonly store: Store;
  readonly operatorToken: string | undefined;
  readonly githubEventToken: string | undefined;
  /** Unix seconds. */
  readonly startedAt: number;
  /** The log that is in the store, and may go on. */
  readonly auditLog: AdmittedLog;
  /** Where its newest checkpoint is kept. */
  readonly sinks: readonly CheckpointSink[];
  readonly metrics: Metrics;
  readonly operator: OperatorListener;
  /** What brokers that stand by must have in common with this one, as it is now. */
  readonly shared: () => Shared;
}

/** Restores the sessions and serves. */
export async function startActive(
  config: BrokerConfig,
  parts: BrokerParts & { readonly log: Logger },
  { store, operatorToken, githubEventToken, startedAt, auditLog: admitted, sinks, metrics, operator, shared }: Opened,
): Promise<Broker> {
  const { mesh, live = createLiveIndex(), clock = Date.now, random = randomBytes, log } = parts;
  const sourceOf = sourceReader(config.trustedProxies);
  let watch: Watch | undefined;
  let policyWatch: PolicyWatch | undefined;
  metrics.measure({
    isActive: store.holds,
    liveSessions: live.size,
    pendingRevocations: () => revocations.pending(),
    signingSince: () => parts.signer.ring.signing.since,
    policyDrift: () => parts.policy?.mesh.drift(),
    policyFindings: () => policyWatch?.findings().length,
    github: {
      sweepAge: () => watch?.sweepAge(),
      memberAge: () => watch?.memberAge(),
      callsLeft: () => watch?.callsLeft(),
    },
  });
  const failed = (where: string) => (cause: unknown) => {
    metrics.failure(where);
    log.error({ err: cause, where }, 'something the broker stands on failed');
  };
  const { key: auditKey, inForce, isNew, known } = admitted;
  const chain = createChain(store.db, {
    verifiers: auditKey.verifiers,
    known: inForce.map(({ checkpoint }) => checkpoint),
  });
  const checkpoints = createCheckpoints({
    ...{ db: store.db, chain, key: auditKey, sinks, before: known.newest?.note, clock },
    onFailure: failed('audit'),
  });
  if (isNew) await signFirst(checkpoints);
  const ruleOf = namedRules(mesh);
  const journal = createJournal({ store, chain, observe: metrics.batch, onFailure: failed('store') });
  const denies = deniesEnded(config.denyEnded);
  const { losses = createLosses(clock) } = parts;
  const keptLosses = await keepLosses(store, losses, failed('store'));
  const restored = await restore(store, clock, config, denies);
  for (const one of restored.sessions) live.add(one);
  const leases = createLeases({ store, live, clock, terms: config, onFailure: failed('store') });
  const revocations = createRevocations({
    revoker: parts.revoker,
    clock,
    initial: restored.revoked,
    onFailure: failed('revoker'),
  });
  const feed = createFeed(live, mesh, clock, store.holds);

  const closing: CloseContext = {
    ...{ live, journal, feed, revocations, denies, clock, random, tokenSeconds: config.tokenSeconds },
    onClosed: metrics.closed,
    onFailure: failed('session'),
  };
  const { authorize } = parts;
  const sessions = { ...closing, authorize, mesh, losses };
  const meter = createMeter({ journal, clock, random, onMetered: metrics.metered, onFailure: failed('audit') });
  const audit = auditContext({ journal, clock, meter, ruleOf, metrics, log });
  const streams = new Set<ServerResponse>();
  let stopping = false;
  const { trustedProxies, maxStrangersPerSource: perSource } = config;
  const connections = createConnections({ perSource, isProxy: proxyChecker(trustedProxies) });
  const issuer = {
    ...{ signer: parts.signer, issuer: config.publicUrl, audience: config.tokenAudience, life: config.tokenSeconds },
    ...{ clock, random },
    attested: attestedClaims(mesh),
  };
  const answers = { config, mesh };
  const operators = createOperators({ token: operatorToken, sourceOf, clock, connections: operator.connections });
  const admin = { ...{ audit, clock, random, sourceOf, log, store, sessions, operators } };
  const retainSeconds = config.auditRetentionDays * 86_400;
  const auditLog = { ...admin, chain, checkpoints, key: auditKey, retainSeconds };
  const drill = { ...admin, signer: parts.signer, publicUrl: config.publicUrl, denies };
  const rotation = await createRotation({
    ...{ signer: parts.signer, mesh, journal, tokenSeconds: config.tokenSeconds, clock, random },
    ...{ ageSeconds: config.signingKeyAgeSeconds, waitSeconds: config.signingKeyWaitSeconds },
    onFailure: failed('rotation'),
  });
  const trust = { ...admin, rotation, mesh, live };
  const policy = parts.policy && {
    ...admin,
    changes: policyChanges(parts.policy.mesh, store, (replay) => journal.write({ replay, audit: [] })),
  };
  const app = createApp({
    ...{
      audit,
      clock,
      random,
      sourceOf,
      log,
      config,
      metrics,
      startedAt,
      streams,
      feed,
      journal,
      answers,
    },
    policy: policy && parts.policy?.authorOf && { ...policy, operators: undefined, authorOf: parts.policy.authorOf },
    exchange: {
      ...sessions,
      ...{ attest: parts.attest, trustDomain: config.trustDomain, leaseSeconds: config.leaseSeconds, answers },
      turns: new Map(),
      onOpened: (opened) => watch?.opened(opened),
      onEvidence: (evidence) => watch?.weigh(evidence),
    },
    derive: { issuer, mesh },
    certificates: { authority: parts.authority, mesh, journal, revocations, denies, clock },
    signer: parts.signer,
    // Strangers' are forgotten early rather than refused (decision 0015); those of sessions never.
    replay: {
      strangers: createReplayMemory(MAX_AGE + MAX_AHEAD, REPLAY_CAPACITY, REPLAY_CAPACITY / 8),
      sessions: createReplayMemory(MAX_AGE + MAX_AHEAD, REPLAY_CAPACITY),
    },
    githubEvents:
      githubEventToken === undefined
        ? undefined
        : {
            token: githubEventToken,
            hear: (events) => watch?.hear(events),
            onEvents: metrics.githubEvents,
          },
    liveSessions: live,
    reviewEdgeToken: parts.reviewEdgeToken && rememberRefused(parts.reviewEdgeToken, clock),
    leases,
    stopping: () => stopping,
    connections,
    holds: store.holds,
  });

  const lifecycle = async (action: 'broker.start' | 'broker.stop', detail: Record<string, unknown>) => {
    const draft = { ...draftEvent(action, {}, clock, random), detail };
    await journal.write({ audit: [auditRow(draft, 'allowed', 'The broker process.', undefined, clock())] });
  };
  await lifecycle('broker.start', {
    ...{ store: store.kind, epoch: store.epoch, restored: restored.sessions.length },
    after: store.before?.instance,
    deny_ended: config.denyEnded,
    // Never left out: by this a log is told from one of a version that kept none outside of the store (audit/adopt.ts).
    checkpoint: known.newest ? { size: known.newest.checkpoint.size, from: known.newest.sink } : null,
  });
  await checkpoints.sign().catch(failed('audit'));
  // What was learnt of them is not in what they were opened with.
  for (const one of restored.sessions)
    await dropLost(sessions, one, (fact) => losses.isLost(fact, one.session.openedAt));
  // The access file may have changed while no broker ran.
  if (mesh.inForce()) for (const one of restored.sessions) await recheckSession(sessions, one);
  const unfollow = followMesh(sessions);
  const record = recordPolicy(closing, log);
  parts.onPolicyDecision?.(record.decision);
  policyWatch =
    parts.policy && watchPolicy({ mesh: parts.policy.mesh, onFailure: failed('policy'), onFinding: record.finding });
  const stopRotation = rotation.start();
  const announcing = setInterval(() => void store.announce(shared()).catch(failed('store')), ANNOUNCE_MS).unref();
  const stopMeter = meter.start();
  const stopCheckpoints = checkpoints.start(config.auditCheckpointSeconds);
  const stopSweeping = startSweeping({ ...sessions, store, revoker: parts.revoker });
  if (parts.github) {
    const { githubSweepSeconds: sweepSeconds, githubMemberSeconds: memberSeconds } = config;
    watch = startWatching({ ...parts.github, sessions, sweepSeconds, memberSeconds, onFailure: failed('github') });
  }
  const tls = { files: config.tls, connections, onFailure: failed('tls') };
  const listener = await listenTls(app, config.listen, tls);
  operator.show(
    createOperatorApp({
      ...{ store, mesh, metrics, admin, auditLog, drill, trust, policy },
      ...{ connections: operator.connections, stopping: () => stopping },
    }),
  );
  log.info({ port: listener.port, operatorPort: operator.port, store: store.kind, restored: live.size() }, 'serving');

  const stopServing = async (patienceMs: number) => {
    stopping = true;
    unfollow();
    stopSweeping();
    watch?.stop();
    await policyWatch?.stop();
    clearInterval(announcing);
    for (const stream of streams) stream.end();
    await listener.stop(patienceMs);
    feed.stop();
    revocations.stop();
    await stopRotation();
  };
  const stop = async () => {
    await stopServing(STOP_PATIENCE_MS);
    await stopMeter();
    await lifecycle('broker.stop', { sessions: live.size() }).catch(failed('store'));
    await journal.flush();
    await leases.stop();
    await stopCheckpoints();
    await operator.stop(1_000);
    await keptLosses.stop();
    await store.close();
    log.info('stopped');
  };
  /** Nothing is written any more: it would be refused. The operator listener says why until the process ends. */
  const cease = async () => {
    log.fatal({ epoch: store.epoch }, 'another broker has taken over: this one serves nobody any more, and ends');
    await stopServing(0);
    await keptLosses.stop();
    return superseded();
  };
  let stopped: Promise<void> | undefined;
  return {
    lost: store.lost.then(cease),
    port: listener.port,
    operatorPort: operator.port,
    feed,
    reportEdgeDecisions: (decisions) =>
      recordEdgeDecisions({ journal, clock, random, liveSessions: live, ruleOf }, decisions),
    revocationsSettled: revocations.settled,
    close: () => {
      stopped ??= stop();
      return stopped;
    },
  };
}
