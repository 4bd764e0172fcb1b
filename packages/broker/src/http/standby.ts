/** The operator listener of a broker that waits: alive, not ready, and why. */
import { MeshpassError } from '@meshpass/identity';
import { Hono } from 'hono';
import type { Metrics } from '../telemetry/metrics.ts';
import { type Connections, createConnections } from './connections.ts';
import { type ListenAddress, type Listening, listenPlain } from './listen.ts';
import { refusal } from './refusal.ts';
import type { Env } from './route.ts';

export interface StandbyContext {
  readonly metrics: Metrics;
  /** Why it does not serve, in words. */
  readonly reasons: () => readonly string[];
  /** Whether all that it waits for is that another one ends: it could take over now. */
  readonly couldTakeOver: () => boolean;
}

export interface OperatorListener extends Listening {
  /** From now on this answers. */
  readonly show: (app: Hono<Env>) => void;
  readonly connections: Connections;
}

/** Probes, scrapes and operators need a few. */
const STRANGERS_PER_SOURCE = 256;

/** Listens for operators and probes from the first moment on, whatever the broker turns out to be. */
export async function listenForOperators(first: Hono<Env>, address: ListenAddress): Promise<OperatorListener> {
  let shown = first;
  const connections = createConnections({ perSource: STRANGERS_PER_SOURCE, isProxy: () => false });
  const listening = await listenPlain({ fetch: (...request) => shown.fetch(...request) }, address, connections);
  return {
    ...{ ...listening, connections },
    show: (app) => {
      shown = app;
    },
  };
}

export function createStandbyApp({ metrics, reasons, couldTakeOver }: StandbyContext): Hono<Env> {
  const app = new Hono<Env>();
  app.get('/healthz', (c) => c.json({ status: 'alive' }));
  // With `?standby=ready`, for whoever routes by the label of the active one and asks whether a Pod is well.
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

export function metricsRoute(app: Hono<Env>, { registry }: Metrics): void {
  app.get('/metrics', async (c) => c.body(await registry.metrics(), 200, { 'content-type': registry.contentType }));
}
