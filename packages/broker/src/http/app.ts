/** The public routes of docs/protocol.md. */

import type { IncomingMessage } from 'node:http';
import { CertificateRequest, type HeartbeatResponse, MeshpassError, SESSION_TOKEN_TYPE } from '@meshpass/identity';
import { Hono } from 'hono';
import { routePath } from 'hono/route';
import type { Draft } from '../audit/log/event.ts';
import { type CertificateContext, issueCertificates } from '../certificate/issue.ts';
import { seconds } from '../clock/clock.ts';
import type { BrokerConfig } from '../config.ts';
import { groupOf } from '../limits/source-address.ts';
import { type Answers, servicesAnswer, servicesVersion } from '../session/answers.ts';
import { closeSession } from '../session/close.ts';
import type { Leases } from '../session/leases.ts';
import type { Metrics } from '../telemetry/metrics.ts';
import { type DeriveContext, deriveToken } from '../token/derive.ts';
import { verifyDpop } from '../token/dpop.ts';
import { type ExchangeContext, exchangeProof } from '../token/exchange.ts';
import { readTokenForm } from '../token/form.ts';
import { keysOf } from '../token/key-ring.ts';
import type { ReplayMemory } from '../token/replay.ts';
import type { RotatingSigner } from '../token/signer.ts';
import { authenticateSession } from './authenticate.ts';
import { readBody, readJson } from './body.ts';
import type { Connections } from './connections.ts';
import { type DecideContext, decide, type Env } from './decide.ts';
import { discoveryDocument } from './discovery.ts';
import { type EdgeContext, edgeRoutes } from './edge.ts';
import { type GithubEvents, githubEventRoutes } from './github-events.ts';
import { type PolicyContext, policyRoutes } from './policy.ts';
import { refusal } from './refusal.ts';
import { requireLeader } from './require-leader.ts';
import { createSlots } from './slots.ts';

export interface AppContext extends DecideContext, EdgeContext {
  readonly config: BrokerConfig;
  readonly metrics: Metrics;
  readonly exchange: ExchangeContext;
  readonly derive: DeriveContext;
  readonly certificates: CertificateContext;
  readonly answers: Answers;
  readonly signer: RotatingSigner;
  /** Unix seconds at which this process started. */
  readonly startedAt: number;
  /** Strangers and sessions do not share a memory: who holds no session cannot fill the one of those that do. */
  readonly replay: { readonly strangers: ReplayMemory; readonly sessions: ReplayMemory };
  /** Absent: no job may change the access file. */
  readonly policy: PolicyContext | undefined;
  /** Absent: GitHub's audit log is not taken. */
  readonly githubEvents: GithubEvents | undefined;
  readonly leases: Leases;
  readonly stopping: () => boolean;
  /** Whether this process is known, at this instant, to be the active broker. */
  readonly isLeader: () => boolean;
  readonly connections: Connections;
}

/** Requests of live sessions that are being answered at once, beyond heartbeats and reads, which take no time. */
const MAX_RENEWALS = 2_048;
const RENEWALS_PER_SESSION = 16;
/** Longest form of `POST /token`: the longest proof, and room for the rest. */
const MAX_FORM = 32 * 1024;

export function createApp(context: AppContext): Hono<Env> {
  const { config, exchange, clock } = context;
  const { live } = exchange;
  const app = new Hono<Env>();
  const { connections } = context;
  // Places of their own, so that strangers never take those of live sessions, and nobody those of all the others.
  const enrolments = createSlots(config.maxExchanges, config.maxExchangesPerSource);
  const renewals = createSlots(MAX_RENEWALS, RENEWALS_PER_SESSION);

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

  const authenticate = (request: IncomingMessage, path: string, draft: Draft) => {
    const found = authenticateSession(
      live,
      {
        authorization: request.headers.authorization,
        proof: header(request, 'dpop'),
        method: request.method ?? '',
        url: config.publicUrl + path,
        now: seconds(clock),
        startedAt: context.startedAt,
        replay: context.replay.sessions,
      },
      draft,
    );
    connections.belongs(request.socket, found.live.session.id);
    return found;
  };

  /** A stranger's key: a proof that was made for this request just now, by whoever has the key. */
  const proveKey = (request: IncomingMessage, source: string): string =>
    verifyDpop({
      source,
      proof: header(request, 'dpop'),
      method: 'POST',
      url: `${config.publicUrl}/token`,
      now: seconds(clock),
      startedAt: context.startedAt,
      replay: context.replay.strangers,
    });

  app.post('/token', (c) => {
    const isSession = c.env.incoming.headers.authorization !== undefined;
    return decide(
      context,
      c,
      isSession ? 'token.issue' : 'session.open',
      async (draft, commit, request) => {
        // What the headers prove comes before the body is waited for, and a place is taken when the body is there: who is
        // slow holds nothing.
        const found = isSession ? authenticate(request, '/token', draft) : undefined;
        const source = groupOf(draft.source ?? 'unknown');
        const jkt = found ? undefined : proveKey(request, source);
        const form = readTokenForm(request.headers['content-type'], await readBody(request, MAX_FORM));
        if (found) {
          if (form.subjectTokenType !== SESSION_TOKEN_TYPE)
            throw new MeshpassError(
              'request_malformed',
              'A session token is exchanged for tokens; a proof comes without one.',
            );
          const done = renewals.take(found.live.session.id);
          return await deriveToken(context.derive, form, found.live, found.token, draft, commit).finally(done);
        }
        if (form.subjectTokenType === SESSION_TOKEN_TYPE)
          throw new MeshpassError('session_token_missing', 'The request needs `Authorization: DPoP SESSION_TOKEN`.');
        const leave = enrolments.take(source);
        const rest = connections.working(request.socket);
        try {
          const opened = await exchangeProof(exchange, form, jkt!, () => request.socket.destroyed, draft, commit);
          connections.belongs(request.socket, opened.session.id);
          return opened;
        } finally {
          rest();
          leave();
        }
      },
      { atTokenEndpoint: !isSession },
    );
  });

  app.post('/certificates', (c) =>
    decide(context, c, 'certificate.issue', async (draft, commit, request) => {
      const found = authenticate(request, '/certificates', draft);
      const wanted = await readJson(request, CertificateRequest);
      const done = renewals.take(found.live.session.id);
      return await issueCertificates(context.certificates, wanted, found.live, draft, commit).finally(done);
    }),
  );

  // Heartbeats and reads decide nothing when they are allowed: they leave no row. Refused, they do.
  app.post('/session/heartbeat', (c) =>
    decide(context, c, 'session.heartbeat', async (draft, _commit, request): Promise<HeartbeatResponse> => {
      const found = authenticate(request, '/session/heartbeat', draft).live;
      context.leases.renew(found);
      return {
        lease_expires_at: found.leaseUntil,
        expires_at: found.session.expiresAt,
        ...(context.answers.mesh.inForce() && { services_version: servicesVersion(context.answers, found.session) }),
        token_keys: keysOf(context.signer.ring).map(({ kid }) => kid),
      };
    }),
  );

  app.get('/services', (c) =>
    decide(context, c, 'services.read', async (draft, _commit, request) =>
      servicesAnswer(context.answers, authenticate(request, '/services', draft).live.session),
    ),
  );

  app.delete('/session', (c) =>
    decide(context, c, 'session.close', async (draft, _commit, request) => {
      const found = authenticate(request, '/session', draft);
      // Writes its own row.
      await closeSession(exchange, found.live, { cause: 'goodbye', source: draft.source, requestId: draft.requestId });
    }),
  );

  if (context.policy) policyRoutes(app, context.policy);
  if (context.githubEvents) githubEventRoutes(app, context, context.githubEvents);

  app.get('/.well-known/openid-configuration', (c) => {
    c.header('cache-control', 'public, max-age=300');
    return c.json(discoveryDocument(config.publicUrl));
  });
  app.get('/jwks', (c) => {
    // Whoever keeps it no longer has a new key before that key signs.
    c.header('cache-control', `public, max-age=${Math.min(300, config.signingKeyWaitSeconds)}`);
    return c.body(context.signer.jwks, 200, { 'content-type': 'application/jwk-set+json' });
  });
  edgeRoutes(app, context);

  app.notFound(() => refusal(new MeshpassError('not_found', 'There is nothing here.'), undefined));
  app.onError((thrown, c) => {
    context.log.error({ err: thrown, requestId: c.get('requestId') }, 'a request failed');
    return refusal(
      new MeshpassError('internal', 'Something failed inside the broker; its log has the cause.'),
      undefined,
    );
  });
  return app;
}

function header(request: IncomingMessage, name: string): string | undefined {
  const value = request.headers[name];
  return Array.isArray(value) ? value.join(',') : value;
}
