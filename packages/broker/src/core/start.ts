/**
 * Starts the sessions of an active broker: what they are issued, what ends them, and the routes for agents and edges.
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
import { type CloseRequest, closeSession } from './session/lifecycle.ts';
import { createLiveIndex, type Live } from './session/live.ts';
import { narrowSession } from './session/narrow.ts';
import { createRefusalCollector } from './session/reported-refusals.ts';
import { restoreState } from './session/restore.ts';
import { createRevocations } from './session/revocations.ts';
import type { GainCause } from './session/session.ts';
import { createWriteQueue } from './session/settling.ts';
import { startSessionSweep } from './session/sweep.ts';
import { touch, touchOnChange } from './session/touch.ts';
import { type GainRequest, gain } from './session/widen.ts';
import { createRecentLogouts, readStoredLogouts } from './sign-in/recent-logouts.ts';
import { endLoggedOutSignIns, type SignInContext } from './sign-in/sign-in.ts';
import { createDpopReplayMemory } from './token/dpop.ts';
import { createKeyRotation } from './token/rotation.ts';
import type { RotatingSigner } from './token/signer.ts';
import { githubEventRoutes } from './watch/audit-stream-route.ts';
import type { RateLimiter } from './watch/rate-limiter.ts';
import { startGithubWatch } from './watch/watch.ts';

const REPORTED_MS = 1_000;
/** Number of DPoP proofs remembered in a window: enough for a thousand requests a second, doubled as a reserve. */
const REPLAY_CAPACITY = 150_000;
/** Maximum proofs of one session in that time, so that no session can fill the shared memory. */
const REPLAY_OF_SESSION = 10_000;

/** Session dependencies that an installation provides. */
export interface SessionParts {
  readonly attest: Attestor;
  /** createSignInVerifier(); absent if users cannot sign in. */
  readonly attestSignIn?: SignInVerifier;
  /** Verifies logout tokens of issuers; absent if none are accepted. */
  readonly verifyLogout?: LogoutVerifier;
  readonly authorize: Authorize;
  readonly authority: CertificateAuthority;
  readonly revoker: Revoker;
  readonly mesh: MeshState;
  /** Issues tokens for the Kubernetes API server; absent if sessions have no access to it. */
  readonly kubernetesTokens?: KubernetesTokens | undefined;
  /** openSigner(), created by the caller because the mesh must have its JWKS before the broker serves. */
  readonly signer: RotatingSigner;
  /** TokenReview of an edge's bearer token; absent if the edge runs in this process. */
  readonly reviewEdgeToken?: (token: string) => Promise<boolean>;
  /** GitHub access for checks of live sessions; absent if sessions rely on leases alone. */
  readonly github?: { readonly read: ReadGithub; readonly rateLimiter: RateLimiter };
  /** Losses shared with `attest`; created by default. */
  readonly losses?: Losses;
  /** Source of Envoy configurations for sessions; absent if they receive none. */
  readonly relay?: RelaySource;
  /** Source of configurations delivered through edges; defaults to the relay. */
  readonly configurations?: ConfigurationSource;
  /** Aborts the wait for the mesh. */
  readonly signal?: AbortSignal;
}

/** Session settings (config.ts). */
export interface SessionConfig extends ResponseConfig, LeaseTerms, SessionRoutesConfig {
  /** Lifetime of identity tokens, seconds. */
  readonly tokenSeconds: number;
  readonly denyEnded: (typeof DENY_ENDED_MODES)[number];
  readonly signingKeyAgeSeconds: number;
  readonly signingKeyWaitSeconds: number;
  readonly githubSweepSeconds: number;
  readonly githubMemberSeconds: number;
}

/** The process that sessions run in. */
export type SessionProcess = Process<SessionConfig, SessionParts>;

/** Further dependencies of sessions once they are started. */
export interface SessionOptions {
  /** Records decisions. */
  readonly audit: AuditContext;
  /** Time from which DPoP proofs are accepted, Unix seconds. */
  readonly startedAt: number;
  /** The public listener's connections. */
  readonly connections: Connections;
  readonly sourceOf: RouteContext['sourceOf'];
  /** Token for GitHub's audit log stream; undefined if no stream is accepted. */
  readonly githubEventToken: string | undefined;
}

/** The active broker's sessions. */
export type Sessions = Awaited<ReturnType<typeof startSessions>>;

/**
 * Restores losses, sessions and their leases from the store.
 * @throws MeshpassError `store_unavailable`
 */
export async function restoreSessions(base: SessionProcess, store: Store, journal: Journal) {
  const stored = await readSessions(base, store, journal);
  return {
    /** Number of restored sessions. */
    restored: stored.restored.sessions.length,
    live: stored.live,
    /**
     * Starts what ends sessions, and allows requests to open them.
     * @param writing stopped once nothing acts on sessions any more
     * @param acting stopped at once when another broker takes over
     */
    start: (options: SessionOptions, writing: AsyncDisposableStack, acting: AsyncDisposableStack) =>
      startSessions({ ...base, ...stored, ...options }, writing, acting),
  };
}

async function readSessions({ config, given, clock, failed }: SessionProcess, store: Store, journal: Journal) {
  const { losses = createLosses(clock) } = given;
  const live = createLiveIndex();
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
  const reportedRefusals = createRefusalCollector({ clock, random, mesh, ruleOf, ended: live.endedById });
  writing.defer(writeCountedRefusals({ journal, onFailure: failed('audit') }, REPORTED_MS, reportedRefusals.takeRows));

  const lost = await listLostSessionPrincipals(store, given.revoker, clock, {
    onFailure: failed('revoker'),
    signal: given.signal,
  });
  const revocations = createRevocations({
    revoker: given.revoker,
    clock,
    initial: [...restored.revoked, ...lost],
    onFailure: failed('revoker'),
  });
  acting.defer(revocations.stop);
  const configurations =
    given.relay &&
    createConfigurationRelay({
      source: given.relay,
      mesh,
      live,
      epoch: store.epoch,
      onFailure: failed('istiod'),
    });
  if (configurations) acting.defer(configurations.stop);
  const control = createControlChannel({
    live,
    renewLease,
    audit,
    signer,
    clock,
    random,
    startedAt,
    answers: { config, mesh },
    source: given.configurations ?? configurations,
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
      // Requested now, so that istiod has responded by the time the agent asks.
      configurations?.current(one.session);
    },
  } satisfies SessionContext;
  acting.defer(touchOnChange(sessions));
  // The stored attestations do not reflect losses since the opening, and the access file may have changed while no
  // broker was running.
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
  // A logout is stored before the ends that follow from it.
  for (const one of restored.sessions) endLoggedOutSignIns(signIns, one);
  acting.defer(startSessionSweep({ ...signIns, store, revoker: given.revoker, gains }));
  const rotation = createKeyRotation({
    ...sessions,
    signer,
    isLeader: store.isLeader,
    onFailure: failed('rotation'),
    // When an edge receives a session again, it makes the agent renew the lease.
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
      onFailure: failed('github'),
      sweepSeconds: config.githubSweepSeconds,
      memberSeconds: config.githubMemberSeconds,
    });
  if (github) acting.defer(github.stop);

  metrics.measure({
    liveSessions: live.size,
    pendingRevocations: revocations.pending,
    configurationStreams: () => configurations?.streams() ?? 0,
    configurationLeftOut: () => configurations?.leftOut() ?? [],
    githubSweepAge: () => github?.sweepAge(),
    githubMemberAge: () => github?.memberAge(),
    githubCallsLeft: () => github?.callsLeft(),
  });

  const { connections, sourceOf, githubEventToken } = context;
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
    // Proofs by clients without a session are forgotten early instead of refused (decision 0015). Those of sessions
    // never are.
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
      // Requested now, so that istiod has responded by the time the agent asks.
      configurations?.current(opened.session);
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
    /** Recent logouts at issuers, which also end sessions of operators. */
    recentLogouts: signIns.recentLogouts,
    /** Authenticates a session by its token and key. */
    authentication: session,
    /** Returns the client for sign-ins at an issuer; undefined if the issuer has no client. */
    signInOffer: (name: string) => signInOffer(signIns, name),
    /** Ends a session. See closeSession(). */
    close: (one: Live, request: CloseRequest) => closeSession(sessions, one, request),
    /** Denies an ended session that the mesh does not deny yet. Undefined if there is nothing to deny. */
    denyLate: (id: string) => denyEndedSession({ ...sessions, store }, id),
    /** Adds a grant to a session. See gain(). */
    give: (one: Live, grant: string, request: GainRequest) => gain(sessions, one, grant, request),
    /** Removes an approved grant, unless the access file now includes it without an approval. */
    take: async (one: Live, grant: string, reason: string) => {
      const kept = one.session.principals.filter((held) => held.grant !== grant);
      const ends = new Map(kept.map((held) => [held.grant, held.until]));
      await narrowSession(sessions, one, ends, { cause: 'approval_revoked', reason });
      // The access file may now include the grant without an approval.
      gains.add(one);
    },
    /** Routes for agents, edges and issuers. */
    routes: ({ signOut }: { readonly signOut: (out: VerifiedLogout, origin: Origin) => Promise<void> }) => [
      ...sessionRoutes({
        ...exchange,
        config,
        signer,
        authority: given.authority,
        reportedRefusals,
        connections,
        configurations,
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
      ...(githubEventToken === undefined
        ? []
        : githubEventRoutes({
            token: githubEventToken,
            handle: (events) => github?.handle(events),
            onEvents: metrics.githubEvents,
          })),
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
     * Records an edge's decisions.
     * @throws MeshpassError `store_unavailable`, `overloaded`
     */
    recordEdgeDecisions: (decisions: readonly EdgeDecision[]) => recordEdgeDecisions(sessions, decisions),
    /** Resolves when the mesh has applied all revocations so far. */
    revocationsSettled: revocations.settled,
    /** Ends the streams of edges in other processes. */
    endStreams: () => {
      for (const stream of streams) stream.end();
    },
  };
}
