/** The public listener: the routes of docs/protocol.md. */
import { MeshpassError } from '@meshpass/identity';
import { VERSION } from '@meshpass/identity/version';
import { Hono } from 'hono';
import { routePath } from 'hono/route';
import { unknownIssuer } from '../attest/oidc/sign-in.ts';
import type { Metrics } from '../telemetry/metrics.ts';
import type { Connections } from './connections.ts';
import { discoveryDocument } from './discovery.ts';
import OPENAPI from './openapi.json' with { type: 'json' };
import { refusal } from './refusal.ts';
import { requireLeader } from './require-leader.ts';
import { type Env, mount, type RouteContext } from './route.ts';
import { approvalWebhookRoutes } from './routes/approval-webhooks.ts';
import { type EdgeContext, edgeRoutes } from './routes/edge.ts';
import { type GithubEvents, githubEventRoutes } from './routes/github-events.ts';
import { type PolicyContext, policyRoutes } from './routes/policy.ts';
import { type SessionRoutesContext, sessionRoutes } from './routes/session.ts';
import { type SignInRoutesContext, signInOffer, signInRoutes } from './routes/sign-in.ts';

/** Once: whoever asks for it has shown nothing, and it is 100 kB. */
const OPENAPI_TEXT = JSON.stringify(OPENAPI);

export interface AppContext extends RouteContext, SessionRoutesContext, SignInRoutesContext, EdgeContext {
  readonly metrics: Metrics;
  /** Absent: no job may change the access file. */
  readonly policy: PolicyContext | undefined;
  /** Absent: GitHub's audit log is not taken. */
  readonly githubEvents: GithubEvents | undefined;
  readonly stopping: () => boolean;
  /** Whether this process is known, at this instant, to be the active broker. */
  readonly isLeader: () => boolean;
  readonly connections: Connections;
}

export function createApp(context: AppContext): Hono<Env> {
  const { config, connections } = context;
  const app = new Hono<Env>();

  app.use(async (c, next) => {
    const answered = connections.began(c.env.incoming.socket);
    const began = performance.now();
    const requestId = context.random(9).toString('base64url');
    c.set('requestId', requestId);
    await next().finally(answered);
    c.header('x-request-id', requestId);
    // A stopping broker takes no more requests on this connection; a crowded one wants its memory back.
    if (context.stopping() || connections.open() > config.keptConnections) c.header('connection', 'close');
    context.metrics.request(routePath(c, -1), c.res.status, (performance.now() - began) / 1000);
  });

  app.use(requireLeader(context.isLeader));

  mount(app, context, [
    ...sessionRoutes(context),
    ...signInRoutes({ ...context, publicUrl: config.publicUrl }),
    ...(context.policy ? policyRoutes(context.policy) : []),
    ...(context.githubEvents ? githubEventRoutes(context.githubEvents) : []),
    ...approvalWebhookRoutes(context.approvals, context.clock),
    ...edgeRoutes(context),
  ]);
  if (context.githubEvents) {
    // "Check endpoint" of GitHub's settings.
    app.get('/services/collector/health', (c) => c.json({ text: 'HEC is healthy', code: 17 }));
  }

  app.get('/sign-in/:name', (c) => {
    const offer = signInOffer(context.signIns, c.req.param('name'));
    if (!offer) return refusal(unknownIssuer(c.req.param('name').slice(0, 64)), undefined);
    return c.json(offer);
  });
  app.get('/version', (c) => c.json({ version: VERSION }));
  app.get('/openapi.json', (c) => {
    c.header('cache-control', 'public, max-age=300');
    return c.body(OPENAPI_TEXT, 200, { 'content-type': 'application/json' });
  });
  app.get('/.well-known/openid-configuration', (c) => {
    c.header('cache-control', 'public, max-age=300');
    return c.json(discoveryDocument(config.publicUrl));
  });
  app.get('/jwks', (c) => {
    // Whoever keeps it no longer has a new key before that key signs.
    c.header('cache-control', `public, max-age=${Math.min(300, config.signingKeyWaitSeconds)}`);
    return c.body(context.signer.jwks, 200, { 'content-type': 'application/jwk-set+json' });
  });

  app.notFound(() => refusal(new MeshpassError('not_found', 'There is no such endpoint.'), undefined));
  app.onError((thrown, c) => {
    context.log.error({ err: thrown, requestId: c.get('requestId') }, 'a request failed');
    return refusal(new MeshpassError('internal', 'Internal error of the broker; its log has the cause.'), undefined);
  });
  return app;
}
