import type { AuditLog, Origin } from '../audit/index.ts';
import type { Sessions } from '../core/index.ts';
import type { Connections } from '../http/index.ts';
import type { VerifiedLogout } from '../issuers/index.ts';
import type { Store } from '../store/index.ts';
import { startApprovals } from './approval/approvals.ts';
import { createWebhookKeys } from './approval/webhook/keys.ts';
import { signOutOperators } from './operator/end-sessions.ts';
import { type AuthorizedRoute, operatorRoutes } from './operator/operator-route.ts';
import { createOperatorTokens } from './operator/operator-token.ts';
import { createOperators } from './operator/operators.ts';
import { createBrowserSignIn } from './operator/page/browser-sign-in.ts';
import { createOperatorSessions, labOnlyConfirmSeconds } from './operator/sessions.ts';
import { createPolicyChanges } from './policy/change.ts';
import { createProver, WATCH_LIMIT_MS } from './policy/prover.ts';
import { createPolicyRecorder } from './policy/record.ts';
import { watchPolicy } from './policy/watch-foreign-policies.ts';
import type { AdminProcess } from './process.ts';
import { adminRoutes } from './routes/admin.ts';
import { approvalRoutes, approvalWebhookRoutes, operatorApprovalRoutes } from './routes/approvals.ts';
import { auditRoutes } from './routes/audit.ts';
import { drillRoutes } from './routes/drill.ts';
import { operatorSignInRoutes, operatorsRoutes } from './routes/operators.ts';
import { pageRoutes } from './routes/page.ts';
import { pageSignInRoutes } from './routes/page-sign-in.ts';
import { operatorPolicyRoutes, policyRoutes } from './routes/policy.ts';
import { trustRoutes } from './routes/trust.ts';

export interface AdminOptions {
  readonly store: Store;
  readonly auditLog: AuditLog;
  readonly sessions: Sessions;
  /** When this process started, in Unix seconds. DPoP proofs created before that are rejected. */
  readonly startedAt: number;
  /** The break-glass token. Undefined if break-glass is disabled. */
  readonly operatorToken: string | undefined;
  /** Tracks the connections of the operator listener. */
  readonly connections: Connections;
}

/**
 * Starts everything that operators, approvals and policy changes need.
 * @param acting a stack that stops everything immediately when another broker takes over
 * @throws MeshpassError `store_unavailable`, `config_invalid`
 */
export async function startAdmin(
  base: AdminProcess,
  { store, auditLog, sessions, startedAt, operatorToken, connections }: AdminOptions,
  acting: AsyncDisposableStack,
) {
  const { config, given, clock, random, log, metrics, failed } = base;
  const { mesh, signer } = given;
  const { publicUrl } = config;
  const { decisions: audit, trail } = auditLog;
  const approvals = await startApprovals(
    {
      ...sessions,
      audit,
      clock,
      random,
      store,
      mesh,
      authorize: given.authorize,
      read: given.github?.read,
      keys: createWebhookKeys(config.approvalWebhookKeys),
      fetch: given.fetch ?? fetch,
      onTried: metrics.webhookTried,
      onFailure: failed('approvals'),
    },
    acting,
  );
  const record = createPolicyRecorder({ journal: audit.journal, clock, random, onFailure: failed('session') }, log);
  given.onPolicyDecision?.(record.decision);
  const prover = createProver();
  acting.defer(prover.close);
  // Give the watch its own prover, so that callers cannot delay the detection of external changes.
  const watchProver = createProver({ limitMs: WATCH_LIMIT_MS });
  const policyWatch =
    given.policy &&
    watchPolicy({
      mesh: given.policy.mesh,
      prover: watchProver,
      onFailure: failed('policy'),
      onFinding: record.finding,
    });
  if (policyWatch) acting.defer(policyWatch.stop);
  // Close this prover before stopping the watch, which would otherwise wait for its proof.
  acting.defer(watchProver.close);

  const operatorSessions = createOperatorSessions(
    clock,
    sessions.recentLogouts,
    given.operators?.[labOnlyConfirmSeconds],
  );
  const signIns = {
    clock,
    random,
    audit,
    publicUrl,
    operatorSessions,
    onFailure: failed('operators'),
    access: mesh.access,
    proofs: given.operators,
    tokens: createOperatorTokens(signer, publicUrl, clock, operatorSessions),
  };
  const operators = createOperators({
    ...signIns,
    token: operatorToken,
    startedAt,
    connections,
    onBreakGlass: metrics.breakGlass,
  });
  const on = operatorRoutes(operators.authentication);
  const context = { ...signIns, operators, on, approvals, sessions, store, trail, mesh, signer };
  // Browsers reach the page only at its own origin, and only if they can sign in there.
  const { operatorUrl: origin } = config;
  const http = given.operators?.http;
  const page = origin !== undefined &&
    http && { ...context, origin, browserSignIn: createBrowserSignIn(context, origin, http) };
  const changes = given.policy && createPolicyChanges(given.policy.mesh, prover, store, audit);
  const authorOf = given.policy?.authorOf;
  metrics.measure({
    policyDrift: () => given.policy?.mesh.drift(),
    policyFindings: () => policyWatch?.findings().length,
    emergencyReviews: approvals.reviews,
  });
  const authorized: readonly AuthorizedRoute[] = [
    ...(page ? pageRoutes(page) : []),
    ...[auditRoutes, adminRoutes, drillRoutes, trustRoutes, operatorApprovalRoutes, operatorsRoutes].flatMap((routes) =>
      routes(context),
    ),
    ...(changes ? operatorPolicyRoutes(changes, context) : []),
  ];
  return {
    /** The routes of the operator listener. All of them except sign-ins have an entry in the table of actions. */
    operatorRoutes: [...operatorSignInRoutes(context), ...(page ? pageSignInRoutes(page) : []), ...authorized],
    /** The routes of the public listener: approvals for workspaces and webhooks, and policy changes for jobs. */
    publicRoutes: [
      ...approvalRoutes(approvals, sessions.authentication),
      ...approvalWebhookRoutes(approvals, clock),
      ...(changes && authorOf ? policyRoutes(changes, store, authorOf) : []),
    ],
    /** Ends the operator sessions affected by a logout. */
    signOut: (out: VerifiedLogout, origin: Origin) => signOutOperators(signIns, out, origin),
  };
}
