/** The operator listener: liveness, readiness, metrics, the audit log. Plain HTTP, for the cluster's own eyes; it decides nothing. */
import { Hono } from 'hono';
import type { MeshState } from '../mesh/contract.ts';
import type { Metrics } from '../metrics.ts';
import type { Store } from '../store/open.ts';
import { auditRoute } from './audit.ts';
import type { Env } from './decide.ts';

export interface OperatorContext {
  readonly store: Store;
  readonly mesh: MeshState;
  readonly metrics: Metrics;
  readonly operatorToken: string | undefined;
  readonly stopping: () => boolean;
}

const STORE_PATIENCE_MS = 2_000;

export function createOperatorApp({ store, mesh, metrics, operatorToken, stopping }: OperatorContext): Hono<Env> {
  const app = new Hono<Env>();
  app.get('/healthz', (c) => c.json({ status: 'alive' }));
  app.get('/readyz', async (c) => {
    const reasons = [
      ...mesh.unready(),
      ...(await storeProblem(store)),
      ...(stopping() ? ['the broker is stopping'] : []),
    ];
    return c.json({ status: reasons.length === 0 ? 'ready' : 'not ready', reasons }, reasons.length === 0 ? 200 : 503);
  });
  app.get('/metrics', async (c) =>
    c.body(await metrics.registry.metrics(), 200, { 'content-type': metrics.registry.contentType }),
  );
  auditRoute(app, { store, operatorToken });
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
