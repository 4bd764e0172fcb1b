/**
 * The operator listener: liveness, readiness, metrics, and for operators the audit log, sessions, keys, access files and each other. Plain HTTP, for the cluster's own eyes; the public listener has none of it.
 */
import { MeshpassError } from '@meshpass/identity';
import { Hono } from 'hono';
import type { MeshState } from '../reconcile/contract.ts';
import type { Store } from '../store/open.ts';
import type { Metrics } from '../telemetry/metrics.ts';
import type { Connections } from './connections.ts';
import type { MountedOperatorRoute } from './operator-route.ts';
import { refusal } from './refusal.ts';
import { requireLeader } from './require-leader.ts';
import { type Env, mount } from './route.ts';
import { type AdminContext, adminRoutes } from './routes/admin.ts';
import { type AuditRoutesContext, auditRoutes } from './routes/audit.ts';
import { confirmationRoutes } from './routes/confirmations.ts';
import { type DrillContext, drillRoutes } from './routes/drill.ts';
import { type OperatorApprovalsContext, operatorApprovalRoutes } from './routes/operator-approvals.ts';
import { type OperatorPolicyContext, operatorPolicyRoutes } from './routes/operator-policy.ts';
import { type OperatorsContext, operatorsRoutes, signInRoutes } from './routes/operators.ts';
import { pageRoutes } from './routes/page.ts';
import { type PageContext, pageSignInRoutes } from './routes/page-sign-in.ts';
import { type TrustContext, trustRoutes } from './routes/trust.ts';
import { metricsRoute } from './standby.ts';

export interface OperatorContext {
  readonly store: Store;
  readonly mesh: MeshState;
  readonly metrics: Metrics;
  readonly admin: AdminContext;
  readonly auditLog: AuditRoutesContext;
  readonly drill: DrillContext;
  readonly trust: TrustContext;
  readonly approvals: OperatorApprovalsContext;
  /** Absent: the access file is the one on disk. */
  readonly policy: OperatorPolicyContext | undefined;
  readonly operators: OperatorsContext;
  /** Absent: browsers have no page here. */
  readonly page: PageContext | undefined;
  readonly connections: Connections;
  readonly stopping: () => boolean;
  /** What an operator has to mend, though the broker serves. */
  readonly warnings: () => readonly string[];
  /** Whether the break-glass token is accepted. */
  readonly breakGlass: boolean;
}

const STORE_PATIENCE_MS = 2_000;

export function createOperatorApp({
  store,
  mesh,
  metrics,
  admin,
  auditLog,
  drill,
  trust,
  approvals,
  policy,
  operators,
  page,
  connections,
  stopping,
  warnings,
  breakGlass,
}: OperatorContext): Hono<Env> {
  const app = new Hono<Env>();
  app.use(async (c, next) => {
    const answered = connections.began(c.env.incoming.socket);
    c.set('requestId', admin.random(9).toString('base64url'));
    await next().finally(answered);
    c.header('x-request-id', c.get('requestId'));
  });
  app.get('/healthz', (c) => c.json({ status: 'alive' }));
  app.get('/readyz', async (c) => {
    const reasons = [
      ...mesh.unready(),
      ...(await storeProblem(store)),
      ...(store.isLeader() ? [] : ['the broker cannot tell whether another one has taken over']),
      ...(stopping() ? ['the broker is stopping'] : []),
    ];
    const status = reasons.length === 0 ? 'ready' : 'not ready';
    return c.json({ status, reasons, warnings: warnings(), break_glass: breakGlass }, reasons.length === 0 ? 200 : 503);
  });
  metricsRoute(app, metrics);
  app.use(requireLeader(store.isLeader));
  mount(app, admin, signInRoutes(operators));
  if (page) mount(app, admin, pageSignInRoutes(page));
  const routes: readonly MountedOperatorRoute[] = [
    ...auditRoutes(auditLog),
    ...adminRoutes(admin),
    ...drillRoutes(drill),
    ...trustRoutes(trust),
    ...operatorApprovalRoutes(approvals),
    ...(policy ? operatorPolicyRoutes(policy) : []),
    ...operatorsRoutes(operators),
    ...(page ? pageRoutes(page) : []),
  ];
  mount(app, admin, routes);
  mount(app, admin, confirmationRoutes(operators, routes));
  app.notFound(() => refusal(new MeshpassError('not_found', 'There is no such endpoint.'), undefined));
  return app;
}

async function storeProblem(store: Store): Promise<string[]> {
  const late = new Promise<string[]>((resolve) => {
    setTimeout(resolve, STORE_PATIENCE_MS, ['the store does not answer in time']).unref();
  });
  const answer = store.ping().then(
    () => [],
    () => ['the store does not answer'],
  );
  return await Promise.race([answer, late]);
}
