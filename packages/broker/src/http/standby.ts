/** Operator listener of a waiting broker. Reports that the broker is alive but not ready, and why. */
import { MeshpassError } from '@meshpass/identity';
import { Hono } from 'hono';
import type { Metrics } from '../base/index.ts';
import { createConnections } from './connections.ts';
import { type ListenAddress, listenPlain } from './listen.ts';
import { refusal } from './refusal.ts';
import type { Env } from './route.ts';

/** State of a waiting broker. */
export interface StandbyContext {
  readonly metrics: Metrics;
  /** Returns the reasons why the broker does not serve. */
  readonly reasons: () => readonly string[];
  /** Whether the broker could take over now and only waits for another broker to end. */
  readonly couldTakeOver: () => boolean;
}

/** Operator listener whose app can be replaced. */
export type OperatorListener = Awaited<ReturnType<typeof listenForOperators>>;

/** Maximum strangers' connections per source. Probes, scrapes and operators need only a few. */
const STRANGERS_PER_SOURCE = 256;

/** Opens the operator listener at startup, before the broker knows whether it is active. */
export async function listenForOperators(first: Hono<Env>, address: ListenAddress) {
  let shown = first;
  const connections = createConnections({ perSource: STRANGERS_PER_SOURCE, trustedProxies: [] });
  const listening = await listenPlain({ fetch: (...request) => shown.fetch(...request) }, address, connections);
  return {
    ...listening,
    connections,
    /** Switches to another app. */
    show: (app: Hono<Env>) => {
      shown = app;
    },
  };
}

/** Creates the app of a waiting broker. */
export function createStandbyApp({ metrics, reasons, couldTakeOver }: StandbyContext): Hono<Env> {
  const app = new Hono<Env>();
  app.get('/healthz', (c) => c.json({ status: 'alive' }));
  // `?standby=ready` is for deployments that route by the label of the active Pod and check only whether a Pod is
  // healthy.
  app.get('/readyz', (c) =>
    c.json(
      { status: 'standby', reasons: reasons() },
      c.req.query('standby') === 'ready' && couldTakeOver() ? 200 : 503,
    ),
  );
  metricsRoute(app, metrics);
  app.notFound(() =>
    refusal(
      new MeshpassError('store_unavailable', `This broker is not accepting requests: ${reasons().join('; ')}.`, {
        retryAfter: 2,
      }),
      undefined,
    ),
  );
  return app;
}

/** Mounts `GET /metrics`. */
export function metricsRoute(app: Hono<Env>, { registry }: Metrics): void {
  app.get('/metrics', async (c) => c.body(await registry.metrics(), 200, { 'content-type': registry.contentType }));
}
