/** The API of agents: open a session, and what a session may ask (docs/protocol.md). */
import type { IncomingMessage, ServerResponse } from 'node:http';
import { CertificateRequest, type HeartbeatResponse, MeshpassError, SESSION_TOKEN_TYPE } from '@meshpass/identity';
import { HeartbeatRequest } from '@meshpass/identity/refusal-report';
import type { Approvals } from '../../approval/approvals.ts';
import { granted, refused } from '../../audit/log/decision.ts';
import type { AuditEvent } from '../../audit/log/event.ts';
import { type CertificateContext, issueCertificates } from '../../certificate/issue.ts';
import type { BrokerConfig } from '../../config.ts';
import { groupOf } from '../../limits/source-address.ts';
import { type Answers, servicesAnswer, servicesVersion } from '../../session/answers.ts';
import type { Leases } from '../../session/leases.ts';
import { closeSession } from '../../session/lifecycle.ts';
import type { ReportedRefusals } from '../../session/reported-refusals.ts';
import { type DeriveContext, deriveToken } from '../../token/derive.ts';
import { type ExchangeContext, exchangeProof } from '../../token/exchange.ts';
import { readTokenForm, type TokenForm } from '../../token/form.ts';
import { keysOf } from '../../token/key-ring.ts';
import type { RotatingSigner } from '../../token/signer.ts';
import {
  type AuthenticationContext,
  type KeyCaller,
  keyAuthentication,
  sessionAuthentication,
  sessionTokenMissing,
} from '../authenticate.ts';
import { readBody, readJson } from '../body.ts';
import type { Connections } from '../connections.ts';
import { type Route, route } from '../route.ts';
import { createSlots } from '../slots.ts';
import { approvalRoutes } from './approvals.ts';
import { type ConfigurationRoutesContext, configurationRoutes, limitReading } from './configuration.ts';
import { firstCredentials, withFirst } from './first-credentials.ts';
import { type KubernetesRoutesContext, kubernetesRoutes } from './kubernetes.ts';

export interface SessionRoutesContext
  extends ConfigurationRoutesContext,
    Pick<KubernetesRoutesContext, 'kubernetesTokens'> {
  readonly config: BrokerConfig;
  readonly exchange: ExchangeContext;
  readonly derive: DeriveContext;
  readonly certificates: CertificateContext;
  readonly answers: Answers;
  readonly signer: RotatingSigner;
  readonly leases: Leases;
  readonly reportedRefusals: Pick<ReportedRefusals, 'take'>;
  readonly connections: Connections;
  readonly approvals: Approvals;
  readonly replay: AuthenticationContext['replay'];
  /** Unix seconds at which this process started. */
  readonly startedAt: number;
}

/** Requests of live sessions that are being answered at once, beyond heartbeats and reads, which take no time. */
const MAX_RENEWALS = 2_048;
const RENEWALS_PER_SESSION = 16;
/** Longest form of `POST /token`: the longest proof, and room for the rest. */
const MAX_FORM = 32 * 1024;
/** Longest report of refusals, of two sessions: each kind has a host, a code and a few ids. */
const MAX_HEARTBEAT = 64 * 1024;

export function sessionRoutes(context: SessionRoutesContext): readonly Route[] {
  const { config, exchange, answers, connections, leases, reportedRefusals, signer, configurations } = context;
  const { live, clock } = exchange;
  const authenticating = { ...context, live, clock, publicUrl: config.publicUrl };
  const session = sessionAuthentication(authenticating);
  const key = keyAuthentication(authenticating);
  // Places of their own, so that strangers never take those of live sessions, and nobody those of all the others. A place is taken
  // when the body is there: who is slow holds nothing.
  const enrolments = createSlots(config.maxExchanges, config.maxExchangesPerSource);
  const renewals = createSlots(MAX_RENEWALS, RENEWALS_PER_SESSION);

  const open = async (key: KeyCaller, form: TokenForm, event: AuditEvent, request: IncomingMessage) => {
    const leave = enrolments.take(groupOf(event.source ?? 'unknown'));
    const rest = connections.working(request.socket);
    try {
      const hungUp = () => request.socket.destroyed;
      const opened = await exchangeProof(exchange, { ...key, form, hungUp, event });
      if (opened.granted) connections.belongs(request.socket, opened.value.session.id);
      return opened;
    } finally {
      rest();
      leave();
    }
  };

  return [
    route({
      method: 'POST',
      path: '/token',
      action: 'session.open',
      accepts: ({ headers }) => headers.authorization === undefined,
      authentication: key,
      read: tokenForm,
      atTokenEndpoint: true,
      handler: async ({ caller, body: form, event, request, response }) => {
        if (form.subjectTokenType === SESSION_TOKEN_TYPE) return refused(event, sessionTokenMissing());
        const opened = await open(caller, form, event, request);
        if (!opened.granted || form.csrs.length === 0) return opened;
        const first = await firstCredentials(context, renewals, { opened: opened.value, form, event });
        if (first.configuration) limitReading(request, response);
        return granted(opened.event, withFirst(opened.value, first));
      },
    }),
    route({
      method: 'POST',
      path: '/token',
      action: 'token.issue',
      accepts: ({ headers }) => headers.authorization !== undefined,
      authentication: session,
      read: tokenForm,
      handler: async ({ caller, body: form, event }) => {
        if (form.subjectTokenType !== SESSION_TOKEN_TYPE) return refused(event, proofWithToken());
        const done = renewals.take(caller.live.session.id);
        const request = { form, live: caller.live, sessionToken: caller.token, event };
        return await deriveToken(context.derive, request).finally(done);
      },
    }),
    route({
      method: 'POST',
      path: '/certificates',
      action: 'certificate.issue',
      authentication: session,
      schema: CertificateRequest,
      handler: async ({ caller: { live }, body, event, response }) => {
        const done = renewals.take(live.session.id);
        const signal = whenGone(response);
        return await issueCertificates(context.certificates, { body, live, event, signal }).finally(done);
      },
    }),
    // Heartbeats and reads decide nothing when they are allowed: they leave no row. Refused, they do.
    route({
      method: 'POST',
      path: '/session/heartbeat',
      action: 'session.heartbeat',
      authentication: session,
      read: heartbeatBody,
      handler: async ({ caller: { live }, body, event }) => {
        leases.renew(live);
        reportedRefusals.take(live, body, { source: event.source });
        const configured = configurations?.current(live.session);
        const response: HeartbeatResponse = {
          lease_expires_at: live.leaseUntil,
          expires_at: live.session.expiresAt,
          ...(answers.mesh.inForce() && { services_version: servicesVersion(answers, live.session) }),
          token_keys: keysOf(signer.ring).map(({ kid }) => kid),
          ...(configured && { configuration_version: configured.version }),
        };
        return granted(event, response);
      },
    }),
    route({
      method: 'GET',
      path: '/services',
      action: 'services.read',
      authentication: session,
      handler: async ({ caller: { live }, event }) => granted(event, servicesAnswer(answers, live.session)),
    }),
    ...configurationRoutes(context, session),
    ...approvalRoutes(context.approvals, session),
    ...kubernetesRoutes({ ...context, audit: exchange.audit, mesh: answers.mesh, clock }, session),
    route({
      method: 'DELETE',
      path: '/session',
      action: 'session.close',
      authentication: session,
      handler: async ({ caller: { live }, event }) => {
        // Writes its own row.
        const { source, requestId } = event;
        await closeSession(exchange, live, { cause: 'goodbye', source, requestId });
        return granted(event, undefined);
      },
    }),
  ];
}

/** Ends when the client has hung up: what it no longer waits for keeps others waiting. */
function whenGone(response: ServerResponse): AbortSignal {
  const gone = new AbortController();
  response.once('close', () => gone.abort());
  return gone.signal;
}

async function tokenForm(request: IncomingMessage): Promise<TokenForm> {
  return readTokenForm(request.headers['content-type'], await readBody(request, MAX_FORM));
}

/** An agent that has nothing to report sends no body. */
async function heartbeatBody(request: IncomingMessage): Promise<HeartbeatRequest> {
  const { 'content-length': length, 'transfer-encoding': encoding } = request.headers;
  return encoding === undefined && Number(length ?? 0) === 0 ? {} : readJson(request, HeartbeatRequest, MAX_HEARTBEAT);
}

function proofWithToken(): MeshpassError {
  return new MeshpassError('request_malformed', 'Send either a session token or a proof, not both.');
}
