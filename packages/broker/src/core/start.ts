/**
 * Starts the session subsystem of an active broker: the code that issues credentials, the tasks that end sessions, and
 * the routes for agents and edges.
 */
import type { ServerResponse } from 'node:http';
import type { EdgeDecision } from '@meshpass/identity/channel';
import { createLosses, persistLosses } from '../attest/index.ts';
import { type Journal, type Origin, writeCountedRefusals } from '../audit/index.ts';
import type { VerifiedLogout } from '../issuers/index.ts';
import { createConfigurationRelay } from '../mesh/index.ts';
import type { Store } from '../store/index.ts';
import { createControlChannel } from './channel/control.ts';
import { createAuthentication } from './routes/authenticate.ts';
import { edgeRoutes, recordEdgeDecisions } from './routes/edge.ts';
import { sessionRoutes } from './routes/session.ts';
import { signInOffer, signInRoutes } from './routes/sign-in.ts';
import type { SessionContext, SessionOptions, SessionProcess } from './session/context.ts';
import { createDenialPredicate } from './session/deny/ended.ts';
import { denyEndedSession, listLostSessionPrincipals } from './session/deny/revoked-principals.ts';
import { createFeed } from './session/feed.ts';
import { startGainQueue } from './session/gain/queue.ts';
import { createLeases } from './session/leases.ts';
import { type CloseRequest, closeSession, narrowSession } from './session/lifecycle.ts';
import { createLiveIndex, type Live } from './session/live.ts';
import { createRefusalCollector } from './session/reported-refusals.ts';
import { restoreState } from './session/restore.ts';
import { createRevocations } from './session/revocations.ts';
import { startSessionSweep } from './session/sweep.ts';
import { touch, touchOnChange } from './session/touch.ts';
import { type GainRequest, gain } from './session/widen.ts';
import { createWriteQueue } from './session/write-queue.ts';
import { createRecentLogouts, readStoredLogouts } from './sign-in/recent-logouts.ts';
import { endLoggedOutSignIns } from './sign-in/sign-in.ts';
import { createKeyRotation } from './token/rotation.ts';
import { startGithubWatch } from './watch/watch.ts';

const REPORTED_MS = 1_000;

/** The sessions of the active broker. */
export type Sessions = Awaited<ReturnType<typeof startSessions>>;

/**
 * Restores losses, sessions and their leases from the store.
 * @throws MeshpassError `store_unavailable`
 */
export async function restoreSessions(base: SessionProcess, store: Store, journal: Journal) {
  const stored = await readSessions(base, store, journal);
  return {
    /** The number of sessions that were restored. */
    restored: stored.restored.sessions.length,
    live: stored.live,
    /**
     * Starts the tasks that end sessions, and creates the routes that open them.
     * @param writing disposed after all tasks that act on sessions have stopped
     * @param acting disposed immediately when another broker takes over
     */
    start: (options: SessionOptions, writing: AsyncDisposableStack, acting: AsyncDisposableStack) =>
      startSessions({ ...base, ...stored, ...options }, writing, acting),
  };
}

async function readSessions({ config, given, clock, failed }: SessionProcess, store: Store, journal: Journal) {
  const { losses = createLosses(clock) } = given;
  const { live = createLiveIndex() } = given;
  const onFailure = failed('store');
  await persistLosses({ store, journal, onFailure }, losses);
  const denies = createDenialPredicate(config.denyEnded);
  const restored = await restoreState({ store, clock, config, denies });
  for (const one of restored.sessions) live.add(one);
  const renewLease = createLeases({ store, live, clock, config, journal, onFailure });
  return { store, journal, losses, live, denies, renewLease, restored };
}

type Stored = Awaited<ReturnType<typeof readSessions>>;

async function startSessions(
  context: SessionProcess & SessionOptions & Stored,
  writing: AsyncDisposableStack,
  acting: AsyncDisposableStack,
) {
  const { config, given, clock, metrics, failed } = context;
  const { store, journal, live, restored, audit } = context;
  const { mesh } = given;
  const reportedRefusals = createRefusalCollector({ ...given, ...context });
  writing.defer(writeCountedRefusals({ journal, onFailure: failed('audit') }, REPORTED_MS, reportedRefusals.takeRows));

  const lost = await listLostSessionPrincipals(store, given.revoker, clock, {
    onFailure: failed('revoker'),
    signal: given.signal,
  });
  const revocations = createRevocations({
    mesh,
    revoker: given.revoker,
    clock,
    initial: [...restored.revoked, ...lost],
    onFailure: failed('revoker'),
  });
  acting.defer(revocations.stop);
  const relay =
    given.relay &&
    createConfigurationRelay({
      source: given.relay,
      mesh,
      live,
      epoch: store.epoch,
      onFailure: failed('istiod'),
    });
  if (relay) acting.defer(relay.stop);
  const control = createControlChannel({ ...given, ...context, source: given.configurations ?? relay });
  const feed = createFeed(live, mesh, clock, store.isLeader, control);
  acting.defer(feed.stop);
  const onFailure = failed('session');
  const writes = createWriteQueue(audit, onFailure);
  writing.defer(writes.flush);
  const sessions: SessionContext = {
    ...given,
    ...context,
    writes,
    feed,
    control,
    revocations,
    recentLogouts: createRecentLogouts(clock, await readStoredLogouts(store, clock)),
    signInTurns: new Map(),
    onFailure,
    onOpened: (opened, decidedBy) => {
      gains.opened(opened, decidedBy);
      github?.opened(opened);
      endLoggedOutSignIns(sessions, opened);
      // Request the configuration early, so that istiod has responded by the time the agent needs it.
      control.announced(opened.session);
    },
    onEvidence: (evidence) => github?.considerEvidence(evidence),
  };
  acting.defer(touchOnChange(sessions));
  // The stored attestations do not reflect losses that occurred after the sessions opened, and the access file may have
  // changed while no broker was running.
  for (const one of restored.sessions) touch(sessions, one).catch(sessions.onFailure);
  const gains = startGainQueue(sessions);
  acting.defer(gains.stop);
  // A logout is stored before the sign-ins that it ends, so the previous broker may have stopped between the two.
  for (const one of restored.sessions) endLoggedOutSignIns(sessions, one);
  acting.defer(startSessionSweep(sessions, gains));
  const rotation = createKeyRotation({
    ...sessions,
    isLeader: store.isLeader,
    onFailure: failed('rotation'),
    // When an edge receives a session again, it makes the session's agent renew the lease.
    renewLeases: () => {
      for (const { session, ended } of live.all()) if (!ended) feed.admit(session);
    },
    tokenSeconds: config.tokenSeconds,
    ageSeconds: config.signingKeyAgeSeconds,
    waitSeconds: config.signingKeyWaitSeconds,
  });
  acting.defer(rotation.start());
  const github = given.github && startGithubWatch({ ...given.github, sessions, onFailure: failed('github') });
  if (github) acting.defer(github.stop);

  metrics.measure({
    liveSessions: live.size,
    pendingRevocations: revocations.pending,
    configurationStreams: () => relay?.streams() ?? 0,
    configurationLeftOut: () => relay?.leftOut() ?? [],
    ...github?.gauges,
  });

  const streams = new Set<ServerResponse>();
  const authentication = createAuthentication(sessions);
  return {
    live,
    losses: sessions.losses,
    feed,
    control,
    rotation,
    denies: sessions.denies,
    recentLogouts: sessions.recentLogouts,
    /** Authenticates requests by the session's token and key. */
    authentication: authentication.session,
    /** Returns the OAuth client for sign-ins at an issuer, or undefined if the issuer does not have one. */
    signInOffer: (name: string) => signInOffer(sessions, name),
    /** Ends a session (see closeSession()). */
    close: (one: Live, request: CloseRequest) => closeSession(sessions, one, request),
    /** Prepares the denial of an ended session. Returns undefined if there is nothing left to deny. */
    denyLate: (id: string) => denyEndedSession(sessions, id),
    /** Adds a grant to a session (see gain()). */
    give: (one: Live, grant: string, request: GainRequest) => gain(sessions, one, grant, request),
    /** Removes an approved grant, unless the access file now includes it without an approval. */
    take: async (one: Live, grant: string, reason: string) => {
      const kept = one.session.principals.filter((held) => held.grant !== grant);
      const ends = new Map(kept.map((held) => [held.grant, held.until]));
      await narrowSession(sessions, one, ends, { cause: 'approval_revoked', reason });
      // The access file may by now include the grant without an approval.
      gains.add(one);
    },
    /** Returns the routes for agents, edges and issuers. */
    routes: ({ signOut }: { readonly signOut: (out: VerifiedLogout, origin: Origin) => Promise<void> }) => [
      ...sessionRoutes(sessions, authentication, reportedRefusals),
      ...signInRoutes(sessions, authentication.session, signOut),
      ...(github?.routes ?? []),
      ...edgeRoutes(sessions, streams),
    ],
    /**
     * Records an edge's decisions in the audit log.
     * @throws MeshpassError `store_unavailable`, `overloaded`
     */
    recordEdgeDecisions: (decisions: readonly EdgeDecision[]) => recordEdgeDecisions(sessions, decisions),
    /** Ends the event streams to edges that run in other processes. */
    endStreams: () => {
      for (const stream of streams) stream.end();
    },
  };
}
