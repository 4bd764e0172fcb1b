/**
 * Starts the session subsystem of an active broker: the code that issues credentials, the tasks that end sessions, and
 * the routes for agents and edges.
 */
import type { ServerResponse } from 'node:http';
import type { Authorize } from '@meshpass/access';
import type { EdgeDecision } from '@meshpass/identity';
import {
  type Attestor,
  createLosses,
  type Losses,
  persistLosses,
  type ReadGithub,
  type SignInVerifier,
} from '../attest/index.ts';
import { type AuditContext, type Journal, type Origin, writeCountedRefusals } from '../audit/index.ts';
import type { Process } from '../base/index.ts';
import type { Connections, RouteContext } from '../http/index.ts';
import type { LogoutVerifier, VerifiedLogout } from '../issuers/index.ts';
import {
  type CertificateAuthority,
  createConfigurationRelay,
  type KubernetesTokens,
  type MeshState,
  type RelaySource,
  type Revoker,
} from '../mesh/index.ts';
import type { Store } from '../store/index.ts';
import type { ConfigurationSource } from './channel/configurations.ts';
import { createControlChannel } from './channel/control.ts';
import { keyAuthentication, sessionAuthentication } from './routes/authenticate.ts';
import { edgeRoutes, recordEdgeDecisions } from './routes/edge.ts';
import { type SessionRoutesConfig, sessionRoutes } from './routes/session.ts';
import { signInOffer, signInRoutes } from './routes/sign-in.ts';
import type { ResponseConfig } from './session/answers.ts';
import type { SessionContext } from './session/context.ts';
import { createDenialPredicate, type DENY_ENDED_MODES } from './session/deny/ended.ts';
import { denyEndedSession } from './session/deny/late.ts';
import { listLostSessionPrincipals } from './session/deny/unknown-sessions.ts';
import { createFeed } from './session/feed.ts';
import { startGainQueue } from './session/gain/queue.ts';
import { createLeases, type LeaseTerms } from './session/leases.ts';
import { type CloseRequest, closeSession, narrowSession } from './session/lifecycle.ts';
import { createLiveIndex, type Live, type LiveIndex } from './session/live.ts';
import { createRefusalCollector } from './session/reported-refusals.ts';
import { restoreState } from './session/restore.ts';
import { createRevocations } from './session/revocations.ts';
import type { GainCause } from './session/session.ts';
import { startSessionSweep } from './session/sweep.ts';
import { touch, touchOnChange } from './session/touch.ts';
import { type GainRequest, gain } from './session/widen.ts';
import { createWriteQueue } from './session/write-queue.ts';
import { createRecentLogouts, readStoredLogouts } from './sign-in/recent-logouts.ts';
import { endLoggedOutSignIns, type SignInContext } from './sign-in/sign-in.ts';
import { createDpopReplayMemory } from './token/dpop.ts';
import { createKeyRotation } from './token/rotation.ts';
import type { RotatingSigner } from './token/signer.ts';
import type { RateLimiter } from './watch/rate-limiter.ts';
import { startGithubWatch } from './watch/watch.ts';

const REPORTED_MS = 1_000;
/**
 * The number of DPoP proofs to remember. This is enough for twice a thousand requests per second for as long as proofs
 * are valid.
 */
const REPLAY_CAPACITY = 150_000;
/** The maximum number of proofs to remember per session, so that a single session cannot fill the shared cache. */
const REPLAY_OF_SESSION = 10_000;

/** The dependencies that an installation provides for its sessions. */
export interface SessionParts {
  readonly attest: Attestor;
  /** The result of createSignInVerifier(). Absent if users cannot sign in. */
  readonly attestSignIn?: SignInVerifier;
  /** Verifies logout tokens from issuers. Absent if logout tokens are not accepted. */
  readonly verifyLogout?: LogoutVerifier;
  readonly authorize: Authorize;
  readonly authority: CertificateAuthority;
  readonly revoker: Revoker;
  readonly mesh: MeshState;
  /** Issues tokens for the Kubernetes API server. Absent if sessions do not have access to it. */
  readonly kubernetesTokens?: KubernetesTokens | undefined;
  /**
   * The result of openSigner(). The caller creates the signer, because the mesh must have its JWKS before the broker
   * starts serving.
   */
  readonly signer: RotatingSigner;
  /** Verifies an edge's bearer token through a TokenReview. Absent if the edge runs in this process. */
  readonly reviewEdgeToken?: (token: string) => Promise<boolean>;
  /** Provides access to GitHub for checking live sessions. Absent if sessions depend only on their leases. */
  readonly github?: { readonly read: ReadGithub; readonly rateLimiter: RateLimiter };
  /** The record of lost workspaces and memberships, which is shared with `attest`. Created by default. */
  readonly losses?: Losses;
  /** The source of Envoy configurations for sessions. Absent if sessions do not receive any. */
  readonly relay?: RelaySource;
  /** The source of configurations. Defaults to the relay. */
  readonly configurations?: ConfigurationSource;
  /** Aborts the wait for the mesh. */
  readonly signal?: AbortSignal;
  /** The index of live sessions. Defaults to createLiveIndex(). The lab replaces it to show that a drill can fail. */
  readonly live?: LiveIndex;
}

/** The settings for sessions (see config.ts). */
export interface SessionConfig extends ResponseConfig, LeaseTerms, SessionRoutesConfig {
  /** The lifetime of identity tokens, in seconds. */
  readonly tokenSeconds: number;
  readonly denyEnded: (typeof DENY_ENDED_MODES)[number];
  readonly signingKeyAgeSeconds: number;
  readonly signingKeyWaitSeconds: number;
  readonly githubSweepSeconds: number;
  readonly githubMemberSeconds: number;
}

/** The process that the sessions run in. */
export type SessionProcess = Process<SessionConfig, SessionParts>;

/** Additional dependencies that are available once sessions are started. */
export interface SessionOptions {
  /** Records decisions in the audit log. */
  readonly audit: AuditContext;
  /** When this process started, in Unix seconds. DPoP proofs that are older are rejected. */
  readonly startedAt: number;
  /** The connections of the public listener. */
  readonly connections: Connections;
  readonly sourceOf: RouteContext['sourceOf'];
  /** The token for GitHub's audit log stream, or undefined if the broker does not accept the stream. */
  readonly githubEventToken: string | undefined;
}

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
  const restored = await restoreState(store, clock, config, denies);
  for (const one of restored.sessions) live.add(one);
  const renewLease = createLeases({ store, live, clock, terms: config, journal, onFailure });
  return { store, journal, losses, live, denies, renewLease, restored };
}

type Stored = Awaited<ReturnType<typeof readSessions>>;

async function startSessions(
  context: SessionProcess & SessionOptions & Stored,
  writing: AsyncDisposableStack,
  acting: AsyncDisposableStack,
) {
  const { config, given, clock, random, metrics, failed } = context;
  const { store, journal, losses, live, denies, renewLease, restored, audit, startedAt } = context;
  const { mesh, signer, authorize } = given;
  const { ruleOf } = audit;
  const reportedRefusals = createRefusalCollector({ clock, random, mesh, ruleOf, ended: live.ended });
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
  const control = createControlChannel({
    live,
    renewLease,
    audit,
    signer,
    clock,
    random,
    startedAt,
    answers: { config, mesh },
    source: given.configurations ?? relay,
  });
  const feed = createFeed(live, mesh, clock, store.isLeader, control);
  acting.defer(feed.stop);
  const onFailure = failed('session');
  const settling = createWriteQueue(journal, onFailure);
  writing.defer(settling.flush);
  const sessions = {
    live,
    journal,
    settling,
    feed,
    revocations,
    denies,
    clock,
    random,
    leaseSeconds: config.leaseSeconds,
    tokenSeconds: config.tokenSeconds,
    authorize,
    mesh,
    losses,
    onClosed: metrics.closed,
    onFailure,
    audit,
    trustDomain: config.trustDomain,
    onGained: (one: Live, cause: GainCause) => {
      metrics.gained(cause);
      // Request the configuration early, so that istiod has responded by the time the agent needs it.
      control.announced(one.session);
    },
  } satisfies SessionContext;
  acting.defer(touchOnChange(sessions));
  // The stored attestations do not reflect losses that occurred after the sessions opened, and the access file may have
  // changed while no broker was running.
  for (const one of restored.sessions) touch(sessions, one).catch(sessions.onFailure);
  const gains = startGainQueue(sessions, store.isLeader);
  acting.defer(gains.stop);
  const signIns: SignInContext = {
    ...sessions,
    attestSignIn: given.attestSignIn,
    mutex: new Map(),
    onSignIn: metrics.signIn,
    recentLogouts: createRecentLogouts(clock, await readStoredLogouts(store, clock)),
  };
  // A logout is stored before the sign-ins that it ends, so the previous broker may have stopped between the two.
  for (const one of restored.sessions) endLoggedOutSignIns(signIns, one);
  acting.defer(startSessionSweep({ ...signIns, store, revoker: given.revoker, gains }));
  const rotation = createKeyRotation({
    ...sessions,
    signer,
    isLeader: store.isLeader,
    onFailure: failed('rotation'),
    // When an edge receives a session again, it makes the session's agent renew the lease.
    renewLeases: () => {
      for (const { session, ended } of live.all()) if (!ended) feed.admit(session);
    },
    ageSeconds: config.signingKeyAgeSeconds,
    waitSeconds: config.signingKeyWaitSeconds,
  });
  acting.defer(rotation.start());
  const github =
    given.github &&
    startGithubWatch({
      ...given.github,
      sessions,
      config,
      eventToken: context.githubEventToken,
      onEvents: metrics.githubEvents,
      onFailure: failed('github'),
    });
  if (github) acting.defer(github.stop);

  metrics.measure({
    liveSessions: live.size,
    pendingRevocations: revocations.pending,
    configurationStreams: () => relay?.streams() ?? 0,
    configurationLeftOut: () => relay?.leftOut() ?? [],
    ...github?.gauges,
  });

  const { connections, sourceOf } = context;
  const { publicUrl } = config;
  const { kubernetesTokens } = given;
  const streams = new Set<ServerResponse>();
  const kubernetesCa = kubernetesTokens?.certificateAuthority;
  const answers = { config, mesh, kubernetesCa, statementKeys: control.keys.published };
  const authenticating = {
    live,
    connections,
    publicUrl,
    clock,
    startedAt,
    // If the cache for clients without a session is full, the broker forgets old proofs early instead of rejecting new
    // ones (decision 0015). It never forgets the proofs of sessions early.
    replay: {
      strangers: createDpopReplayMemory(REPLAY_CAPACITY, 'forget'),
      sessions: createDpopReplayMemory(REPLAY_CAPACITY, 'refuse', REPLAY_OF_SESSION),
    },
  };
  const session = sessionAuthentication(authenticating);
  const exchange = {
    ...sessions,
    attestSignIn: given.attestSignIn,
    attest: given.attest,
    answers,
    onOpened: (opened: Live, decidedBy: Parameters<typeof gains.opened>[1]) => {
      gains.opened(opened, decidedBy);
      github?.opened(opened);
      endLoggedOutSignIns(signIns, opened);
      // Request the configuration early, so that istiod has responded by the time the agent needs it.
      control.announced(opened.session);
    },
    onEvidence: github?.considerEvidence,
  };
  return {
    live,
    losses,
    feed,
    control,
    rotation,
    denies,
    /** Recent logouts at issuers, which also end operator sessions. */
    recentLogouts: signIns.recentLogouts,
    /** Authenticates requests by the session's token and key. */
    authentication: session,
    /** Returns the OAuth client for sign-ins at an issuer, or undefined if the issuer does not have one. */
    signInOffer: (name: string) => signInOffer(signIns, name),
    /** Ends a session (see closeSession()). */
    close: (one: Live, request: CloseRequest) => closeSession(sessions, one, request),
    /** Prepares the denial of an ended session. Returns undefined if there is nothing left to deny. */
    denyLate: (id: string) => denyEndedSession({ ...sessions, store }, id),
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
      ...sessionRoutes({
        ...exchange,
        config,
        signer,
        authority: given.authority,
        reportedRefusals,
        connections,
        control,
        kubernetesTokens,
        session,
        key: keyAuthentication(authenticating),
      }),
      ...signInRoutes({
        signIns,
        session,
        verifyLogout: given.verifyLogout,
        signOutOperators: signOut,
      }),
      ...(github?.routes ?? []),
      ...edgeRoutes({
        ...sessions,
        sourceOf,
        connections,
        control,
        streams,
        reviewEdgeToken: given.reviewEdgeToken,
      }),
    ],
    /**
     * Records an edge's decisions in the audit log.
     * @throws MeshpassError `store_unavailable`, `overloaded`
     */
    recordEdgeDecisions: (decisions: readonly EdgeDecision[]) => recordEdgeDecisions(sessions, decisions),
    /** Resolves once the mesh has applied all revocations that have been added so far. */
    revocationsSettled: revocations.settled,
    /** Ends the event streams to edges that run in other processes. */
    endStreams: () => {
      for (const stream of streams) stream.end();
    },
  };
}
