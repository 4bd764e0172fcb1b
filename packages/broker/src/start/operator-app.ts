/**
 * The operator listener, which serves liveness, readiness and metrics. On the active broker, operators also use it to
 * manage the audit log, sessions, keys, access files and other operators. It serves plain HTTP inside the cluster. None
 * of these endpoints are available on the public listener.
 */
import { MeshpassError } from '@meshpass/identity';
import { type Handler, Hono, type MiddlewareHandler } from 'hono';
import type { Metrics } from '../base/index.ts';
import {
  type Connections,
  createConnections,
  type Env,
  listenPlain,
  mount,
  type Route,
  type RouteContext,
  refusal,
  requireLeader,
  trackRequests,
} from '../http/index.ts';
import type { Store } from '../store/index.ts';
import type { Base } from './parts.ts';

/** The maximum number of unauthenticated connections per source. Probes, scrapes and operators only need a few. */
const STRANGERS_PER_SOURCE = 256;
const STORE_PATIENCE_MS = 2_000;

/** Opens the operator listener at startup, before it is known whether this broker is the active one. */
export async function listenForOperators(first: Hono<Env>, address: Base['config']['operator']) {
  let shown = first;
  const connections = createConnections({ perSource: STRANGERS_PER_SOURCE, trustedProxies: [] });
  const listening = await listenPlain({ fetch: (...request) => shown.fetch(...request) }, address, connections);
  return {
    ...listening,
    connections,
    /** Replaces the app that handles requests. */
    show: (app: Hono<Env>) => {
      shown = app;
    },
  };
}

/** Creates an app that serves the probes and the metrics. */
function createProbes({ registry }: Metrics, readyz: Handler<Env>, ...first: MiddlewareHandler<Env>[]): Hono<Env> {
  const app = new Hono<Env>();
  for (const one of first) app.use(one);
  app.get('/healthz', (c) => c.json({ status: 'alive' }));
  app.get('/readyz', readyz);
  app.get('/metrics', async (c) => c.body(await registry.metrics(), 200, { 'content-type': registry.contentType }));
  return app;
}

/**
 * Creates the app for a standby broker. It reports that the broker is alive but not ready, and gives the reasons.
 * @param reasons returns the reasons why the broker is not serving
 * @param couldTakeOver returns whether the broker is able to take over and is only waiting for another broker to exit
 */
export function createStandbyApp(
  metrics: Metrics,
  reasons: () => readonly string[],
  couldTakeOver: () => boolean,
): Hono<Env> {
  // `?standby=ready` is for deployments that use the active Pod's label for routing. Their readiness probe only has to
  // tell whether a Pod is healthy.
  const app = createProbes(metrics, (c) =>
    c.json(
      { status: 'standby', reasons: reasons() },
      c.req.query('standby') === 'ready' && couldTakeOver() ? 200 : 503,
    ),
  );
  app.notFound(() => {
    const message = `This broker is not accepting requests: ${reasons().join('; ')}.`;
    return refusal(new MeshpassError('store_unavailable', message, { retryAfter: 2 }), undefined);
  });
  return app;
}

/** The parts of the active broker that the operator listener depends on. */
export interface OperatorContext extends RouteContext {
  readonly store: Store;
  readonly routes: readonly Route[];
  readonly connections: Connections;
  readonly stopping: () => boolean;
  /** Returns the problems that an operator should fix even though the broker is ready. */
  readonly warnings: () => readonly string[];
}

/** Creates the operator app of the active broker. */
export function createOperatorApp({ config, given, metrics }: Base, context: OperatorContext): Hono<Env> {
  const { store } = context;
  const ready: Handler<Env> = async (c) => {
    const reasons = [
      ...given.mesh.unready(),
      ...(await storeProblem(store)),
      ...(store.isLeader() ? [] : ['the broker cannot determine whether another broker has taken over']),
      ...(context.stopping() ? ['the broker is stopping'] : []),
    ];
    const status = reasons.length === 0 ? 'ready' : 'not ready';
    return c.json(
      { status, reasons, warnings: context.warnings(), break_glass: config.breakGlass },
      reasons.length === 0 ? 200 : 503,
    );
  };
  const app = createProbes(metrics, ready, trackRequests(context));
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
