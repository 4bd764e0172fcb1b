/** The public listener, which serves the routes documented in docs/interfaces/protocol.md. */
import { MeshpassError, VERSION } from '@meshpass/identity';
import type { SignInOffer } from '@meshpass/identity/sign-in';
import { Hono } from 'hono';
import { routePath } from 'hono/route';
import {
  type Connections,
  type Env,
  mount,
  type Route,
  type RouteContext,
  refusal,
  requireLeader,
  trackRequests,
} from '../http/index.ts';
import { unknownIssuerError } from '../issuers/index.ts';
import OPENAPI from './openapi.json' with { type: 'json' };
import type { Base } from './parts.ts';

/** The OpenAPI document. It is 100 kB, and unauthenticated clients can request it, so it is serialized only once. */
const OPENAPI_TEXT = JSON.stringify(OPENAPI);

export interface AppContext extends RouteContext {
  readonly routes: readonly Route[];
  /** Returns the OAuth client for signing in at an issuer, or undefined if the issuer does not offer sign-in. */
  readonly signInOffer: (issuer: string) => SignInOffer | undefined;
  /** Whether GitHub streams its audit log to this broker. */
  readonly receivesGithubEvents: boolean;
  readonly stopping: () => boolean;
  /** Returns whether this process is known to be the active broker at the moment. */
  readonly isLeader: () => boolean;
  readonly connections: Connections;
}

/** Creates the app that serves the public listener. */
export function createPublicApp({ config, given, metrics }: Base, context: AppContext): Hono<Env> {
  const { connections } = context;
  const app = new Hono<Env>();

  app.use(trackRequests(context));
  app.use(async (c, next) => {
    const began = performance.now();
    await next();
    // Close the connection if the broker is stopping, so that it receives no further requests, or if there are too many
    // connections, to free memory.
    if (context.stopping() || connections.open() > config.keptConnections) c.header('connection', 'close');
    metrics.request(routePath(c, -1), c.res.status, (performance.now() - began) / 1000);
  });

  app.use(requireLeader(context.isLeader));

  mount(app, context, context.routes);
  if (context.receivesGithubEvents) {
    // GitHub requests this path when an administrator clicks "Check endpoint" in the settings.
    app.get('/services/collector/health', (c) => c.json({ text: 'HEC is healthy', code: 17 }));
  }

  app.get('/sign-in/:name', (c) => {
    const offer = context.signInOffer(c.req.param('name'));
    if (!offer) return refusal(unknownIssuerError(c.req.param('name').slice(0, 64)), undefined);
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
    // A new key is published for a while before it is used. Clients must not cache the key set for longer than that, so
    // that all of them have fetched a key by the time it is used.
    c.header('cache-control', `public, max-age=${Math.min(300, config.signingKeyWaitSeconds)}`);
    return c.body(given.signer.jwks, 200, { 'content-type': 'application/jwk-set+json' });
  });

  app.notFound(() => refusal(new MeshpassError('not_found', 'No such endpoint.'), undefined));
  app.onError((thrown, c) => {
    context.log.error({ err: thrown, requestId: c.get('requestId') }, 'a request failed');
    return refusal(
      new MeshpassError('internal', 'Internal broker error. See the broker log for the cause.'),
      undefined,
    );
  });
  return app;
}

/**
 * Builds the OIDC discovery document (OpenID Connect Discovery 1.0 section 3). AWS, GCP, Azure and Vault read it before
 * they trust a token.
 */
function discoveryDocument(issuer: string) {
  return {
    issuer,
    jwks_uri: `${issuer}/jwks`,
    token_endpoint: `${issuer}/token`,
    // The standard requires this member, even though browsers never sign in at the broker.
    authorization_endpoint: `${issuer}/authorize`,
    response_types_supported: ['id_token'],
    subject_types_supported: ['public'],
    id_token_signing_alg_values_supported: ['RS256'],
    grant_types_supported: ['urn:ietf:params:oauth:grant-type:token-exchange'],
    token_endpoint_auth_methods_supported: ['none'],
    dpop_signing_alg_values_supported: ['ES256'],
    claims_supported: [
      'iss',
      'sub',
      'aud',
      'iat',
      'nbf',
      'exp',
      'jti',
      'login',
      'repository',
      'repository_id',
      'repository_owner_id',
    ],
  };
}
