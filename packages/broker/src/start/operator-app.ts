/**
 * Operator listener. It serves liveness, readiness and metrics, and for operators the audit log, sessions, keys, access
 * files and other operators. Plain HTTP inside the cluster; none of it is available on the public listener.
 */
import { MeshpassError } from '@meshpass/identity';
import { Hono } from 'hono';
import type { Metrics } from '../base/index.ts';
import {
  beginRequest,
  type Connections,
  type Env,
  metricsRoute,
  mount,
  type Route,
  type RouteContext,
  refusal,
  requireLeader,
} from '../http/index.ts';
import type { MeshState } from '../mesh/index.ts';
import type { Store } from '../store/index.ts';

/** Parts that the operator listener serves. */
export interface OperatorContext extends RouteContext {
  readonly store: Store;
  readonly mesh: MeshState;
  readonly metrics: Metrics;
  readonly routes: readonly Route[];
  readonly connections: Connections;
  readonly stopping: () => boolean;
  /** Returns problems that an operator should fix even though the broker is ready. */
  readonly warnings: () => readonly string[];
  /** Whether the break-glass token is accepted. */
  readonly breakGlass: boolean;
}

const STORE_PATIENCE_MS = 2_000;

/** Creates the app of the operator listener. */
export function createOperatorApp(context: OperatorContext): Hono<Env> {
  const { store, mesh, metrics } = context;
  const app = new Hono<Env>();
  app.use(beginRequest(context));
  app.get('/healthz', (c) => c.json({ status: 'alive' }));
  app.get('/readyz', async (c) => {
    const reasons = [
      ...mesh.unready(),
      ...(await storeProblem(store)),
      ...(store.isLeader() ? [] : ['the broker cannot determine whether another broker has taken over']),
      ...(context.stopping() ? ['the broker is stopping'] : []),
    ];
    const status = reasons.length === 0 ? 'ready' : 'not ready';
    return c.json(
      { status, reasons, warnings: context.warnings(), break_glass: context.breakGlass },
      reasons.length === 0 ? 200 : 503,
    );
  });
  metricsRoute(app, metrics);
  app.use(requireLeader(store.isLeader));
  mount(app, context, context.routes);
  app.notFound(() => refusal(new MeshpassError('not_found', 'No such endpoint.'), undefined));
  return app;
}

async function storeProblem(store: Store): Promise<string[]> {
  const late = new Promise<string[]>((resolve) => {
    setTimeout(resolve, STORE_PATIENCE_MS, ['the store did not respond in time']).unref();
  });
  const answer = store.ping().then(
    () => [],
    () => ['the store is not responding'],
  );
  return await Promise.race([answer, late]);
}
