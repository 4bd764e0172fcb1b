/** The two HTTP APIs of an active broker: the public one, and the one for operators. */
import type { ServerResponse } from 'node:http';
import type { EdgeDecision } from '@meshpass/identity';
import type { Approvals } from '../approval/approvals.ts';
import type { AuditKey } from '../audit/checkpoint/key.ts';
import type { Chain } from '../audit/log/chain.ts';
import type { CheckpointSigner } from '../audit/log/checkpoint-signer.ts';
import type { AuditContext } from '../audit/log/decision.ts';
import type { Journal } from '../audit/log/journal.ts';
import type { ControlChannel } from '../channel/control.ts';
import type { Watch } from '../github/watch.ts';
import { createApp } from '../http/app.ts';
import { createConnections } from '../http/connections.ts';
import { createOperatorApp } from '../http/operator.ts';
import { createOperators } from '../http/operators.ts';
import { recordEdgeDecisions } from '../http/routes/edge.ts';
import type { PageContext } from '../http/routes/page-sign-in.ts';
import type { OperatorListener } from '../http/standby.ts';
import { cacheRefusedTokens } from '../kubernetes/refused-tokens.ts';
import { proxyChecker, sourceReader } from '../limits/source-address.ts';
import { createConfirmations } from '../operator/confirmations.ts';
import { endForLostRole } from '../operator/end-sessions.ts';
import { createBrowserSignIn } from '../operator/page/browser-sign-in.ts';
import type { OperatorSessions } from '../operator/sessions.ts';
import { signOutOperators } from '../operator/signed-out.ts';
import { policyChanges } from '../policy/change.ts';
import type { Denies } from '../session/deny-ended.ts';
import type { Feed } from '../session/feed.ts';
import type { GainQueue } from '../session/gain/queue.ts';
import type { Leases } from '../session/leases.ts';
import type { LiveIndex } from '../session/live.ts';
import type { ReportedRefusals } from '../session/reported-refusals.ts';
import type { Revocations } from '../session/revocations.ts';
import type { WidenContext } from '../session/widen.ts';
import { endSignedOut, type SignInContext } from '../sign-in/sign-in.ts';
import type { Store } from '../store/open.ts';
import { MAX_AGE, MAX_AHEAD } from '../token/dpop.ts';
import { attestedClaims } from '../token/identity-token.ts';
import { createReplayMemory } from '../token/replay.ts';
import type { Rotation } from '../token/rotation.ts';
import type { Configurations } from '../xds/configurations.ts';
import { operatorWarnings } from './operator-warnings.ts';
import type { Base } from './parts.ts';
import type { Secrets } from './secrets.ts';

/** DPoP proofs remembered in a window: a thousand requests a second, and as much again. */
const REPLAY_CAPACITY = 150_000;

export interface Active {
  readonly secrets: Secrets;
  readonly store: Store;
  /** From when on DPoP proofs are accepted, Unix seconds. */
  readonly startedAt: number;
  readonly journal: Journal;
  readonly chain: Chain;
  readonly checkpoints: CheckpointSigner;
  readonly auditKey: AuditKey;
  readonly audit: AuditContext;
  readonly live: LiveIndex;
  readonly leases: Leases;
  readonly reportedRefusals: ReportedRefusals;
  readonly sessions: WidenContext;
  readonly gains: Pick<GainQueue, 'opened'>;
  readonly signIns: SignInContext;
  readonly feed: Feed;
  readonly control: ControlChannel;
  readonly revocations: Revocations;
  readonly denies: Denies;
  readonly rotation: Rotation;
  readonly github: Watch | undefined;
  readonly configurations: Configurations | undefined;
  readonly operator: OperatorListener;
  readonly approvals: Approvals;
  readonly operatorSessions: OperatorSessions;
  readonly stopping: () => boolean;
}

export function createApps(base: Base, active: Active) {
  const { config, given, clock, random, log, metrics } = base;
  const { mesh, signer } = given;
  const { secrets, store, journal, audit, live, leases, sessions, feed, revocations, denies, operator, stopping } =
    active;
  const sourceOf = sourceReader(config.trustedProxies);
  const connections = createConnections({
    perSource: config.maxStrangersPerSource,
    isProxy: proxyChecker(config.trustedProxies),
  });
  const streams = new Set<ServerResponse>();
  const { control } = active;
  const { kubernetesTokens } = given;
  const kubernetesCa = kubernetesTokens?.certificateAuthority;
  const answers = { config, mesh, kubernetesCa, statementKeys: control.keys.published };
  const { publicUrl } = config;
  const ending = { journal, clock, random, sessions: active.operatorSessions, onFailure: base.failed('operators') };
  const ofOperators = {
    ...{ ...ending, audit, publicUrl, access: mesh.access },
    recentLogouts: active.signIns.recentLogouts,
    confirming: new Map(),
  };
  const confirmations = createConfirmations({ store, audit, clock, random, access: mesh.access });
  const operators = createOperators({
    ...{ ...ofOperators, token: secrets.operatorToken, sourceOf, startedAt: active.startedAt },
    confirmations,
    connections: operator.connections,
    onBreakGlass: metrics.breakGlass,
    onRoleLost: (session) => endForLostRole(ending, session),
  });
  const admin = { audit, clock, random, sourceOf, log, store, sessions, operators };
  const policy = given.policy && {
    ...admin,
    changes: policyChanges(given.policy.mesh, store, audit),
  };

  const publicApp = createApp({
    ...{ audit, clock, random, sourceOf, log, config, metrics, streams, feed, journal, answers, leases, connections },
    ...{
      configurations: active.configurations,
      kubernetesTokens,
      reportedRefusals: active.reportedRefusals,
      approvals: active.approvals,
      control,
      signer,
      stopping,
      startedAt: active.startedAt,
      liveSessions: live,
      isLeader: store.isLeader,
    },
    policy: policy && given.policy?.authorOf && { ...policy, authorOf: given.policy.authorOf },
    signIns: active.signIns,
    verifyLogout: given.verifyLogout,
    signOutOperators: (out, origin) => signOutOperators(ending, out, origin),
    exchange: {
      ...{ ...sessions, audit },
      attestSignIn: given.attestSignIn,
      ...{ attest: given.attest, trustDomain: config.trustDomain, leaseSeconds: config.leaseSeconds, answers },
      mutex: new Map(),
      onOpened: (opened, decidedBy) => {
        active.gains.opened(opened, decidedBy);
        active.github?.opened(opened);
        endSignedOut(active.signIns, opened);
        // istiod is asked now, so that it has answered when the agent asks.
        active.configurations?.current(opened.session);
      },
      onEvidence: (evidence) => active.github?.considerEvidence(evidence),
    },
    derive: {
      audit,
      issuer: {
        ...{ signer, issuer: config.publicUrl, audience: config.tokenAudience, life: config.tokenSeconds },
        ...{ clock, random, attested: attestedClaims(mesh) },
      },
      mesh,
    },
    certificates: { audit, authority: given.authority, mesh, journal, revocations, denies, clock },
    // Strangers' are forgotten early rather than refused (decision 0015); those of sessions never.
    replay: {
      strangers: createReplayMemory(MAX_AGE + MAX_AHEAD, REPLAY_CAPACITY, REPLAY_CAPACITY / 8),
      sessions: createReplayMemory(MAX_AGE + MAX_AHEAD, REPLAY_CAPACITY),
    },
    githubEvents:
      secrets.githubEventToken === undefined
        ? undefined
        : {
            token: secrets.githubEventToken,
            handle: (events) => active.github?.handle(events),
            onEvents: metrics.githubEvents,
          },
    reviewEdgeToken: given.reviewEdgeToken && cacheRefusedTokens(given.reviewEdgeToken, clock),
  });

  const operatorApp = createOperatorApp({
    ...{ store, mesh, metrics, admin, connections: operator.connections, stopping },
    policy: policy && {
      ...policy,
      inForce: () => (mesh.inForce() ? mesh.access() : undefined),
      operatorSessions: active.operatorSessions.all,
    },
    operators: { ...admin, ...ofOperators, proofs: given.operators },
    warnings: () => [...(given.warnings?.() ?? []), ...operatorWarnings(config, mesh)],
    breakGlass: config.breakGlass,
    auditLog: {
      ...{ ...admin, chain: active.chain, checkpoints: active.checkpoints, key: active.auditKey },
      retainSeconds: config.auditRetentionDays * 86_400,
    },
    drill: { ...admin, signer, publicUrl: config.publicUrl, denies },
    trust: { ...admin, rotation: active.rotation, mesh, live },
    approvals: { approvals: active.approvals, operators },
    page: pageOf(
      { ...admin, ...ofOperators, proofs: given.operators, approvals: active.approvals },
      config.operatorUrl,
    ),
  });

  return {
    ...{ publicApp, operatorApp, connections, streams },
    recordEdgeDecisions: (decisions: readonly EdgeDecision[]) =>
      recordEdgeDecisions({ journal, clock, random, liveSessions: live, ruleOf: audit.ruleOf }, decisions),
  };
}

/** The page for browsers, where they can reach it. */
function pageOf(context: Omit<PageContext, 'origin' | 'browserSignIn'>, origin: string | undefined) {
  const http = context.proofs?.http;
  if (origin === undefined || !http) return undefined;
  const { access, clock, random } = context;
  return { ...context, origin, browserSignIn: createBrowserSignIn({ origin, http, access, clock, random }) };
}
