/**
 * The routes that agents use to open a session and to send requests from a live session (docs/interfaces/protocol.md).
 */
import type { IncomingMessage, ServerResponse } from 'node:http';
import { MeshpassError, SESSION_TOKEN_TYPE, sourceGroup } from '@meshpass/identity';
import { LeaseRequest, MAX_LEASE_PROOF_LENGTH } from '@meshpass/identity/channel';
import { RefusalReportRequest } from '@meshpass/identity/refusal-report';
import { CertificateRequest } from '@meshpass/identity/wire';
import type { AuditEvent } from '../../audit/index.ts';
import { equalInConstantTime } from '../../base/index.ts';
import { createSlots, type Route, readBody, route } from '../../http/index.ts';
import { issueCertificates } from '../certificate/issue.ts';
import { buildServicesResponse } from '../session/answers.ts';
import type { SessionContext } from '../session/context.ts';
import { closeSession } from '../session/lifecycle.ts';
import type { RefusalCollector } from '../session/reported-refusals.ts';
import { exchangeProof } from '../token/exchange.ts';
import { parseTokenForm, type TokenForm } from '../token/form.ts';
import { deriveToken } from '../token/identity-token.ts';
import { type createAuthentication, type KeyCaller, sessionTokenMissingError } from './authenticate.ts';
import { closeSlowReader, configurationRoutes } from './configuration.ts';
import { issueInitialCredentials } from './first-credentials.ts';
import { kubernetesRoutes } from './kubernetes.ts';

/** The maximum number of concurrent token and certificate requests from live sessions. All other requests are quick. */
const MAX_RENEWALS = 2_048;
const RENEWALS_PER_SESSION = 16;
/** The maximum size of the `POST /token` form, in bytes. It leaves room for the longest proof plus the other fields. */
const MAX_FORM = 32 * 1024;
/**
 * The maximum size of a refusal report for two sessions, in bytes. Each kind of refusal has a host, a code and a few
 * ids.
 */
const MAX_REPORT = 64 * 1024;

/** The maximum size of a lease request, in bytes. The body has to be read before the proof in it can be verified. */
const MAX_LEASE = MAX_LEASE_PROOF_LENGTH * 2 + 256;

/** Creates the routes for agents. */
export function sessionRoutes(
  context: SessionContext,
  { session, key }: ReturnType<typeof createAuthentication>,
  reportedRefusals: Pick<RefusalCollector, 'take'>,
): readonly Route[] {
  const { config, connections } = context;
  // The limits are separate, so that unauthenticated clients cannot starve live sessions. A slot is not taken until the
  // body has arrived, so slow senders do not occupy slots.
  const enrolments = createSlots(config.maxExchanges, config.maxExchangesPerSource);
  const renewals = createSlots(MAX_RENEWALS, RENEWALS_PER_SESSION);

  const open = async (key: KeyCaller, form: TokenForm, event: AuditEvent, request: IncomingMessage) => {
    const leave = enrolments.take(sourceGroup(event.source ?? 'unknown'));
    const rest = connections.working(request.socket);
    try {
      const hungUp = () => request.socket.destroyed;
      const opened = await exchangeProof(context, { ...key, form, hungUp, event });
      connections.belongs(request.socket, opened.live.session.id);
      return opened;
    } finally {
      rest();
      leave();
    }
  };

  return [
    route({
      at: 'POST /token',
      action: 'session.open',
      accepts: ({ headers }) => headers.authorization === undefined,
      authentication: key,
      read: tokenForm,
      atTokenEndpoint: true,
      handler: async ({ caller, body: form, event, request, response }) => {
        if (form.subjectTokenType === SESSION_TOKEN_TYPE) throw sessionTokenMissingError();
        const { live, answer } = await open(caller, form, event, request);
        const { csrs } = form;
        const first = csrs.length === 0 ? {} : await issueInitialCredentials(context, renewals, live, csrs, event);
        if (first.configuration) closeSlowReader(request, response);
        return { ...answer, ...first };
      },
    }),
    route({
      at: 'POST /token',
      action: 'token.issue',
      accepts: ({ headers }) => headers.authorization !== undefined,
      authentication: session,
      read: tokenForm,
      handler: async ({ caller, body: form, event }) => {
        const { live, token } = caller;
        if (form.subjectTokenType !== SESSION_TOKEN_TYPE)
          throw new MeshpassError('request_malformed', 'Send either a session token or a proof, not both.');
        if (!equalInConstantTime(form.subjectToken, token))
          throw new MeshpassError(
            'request_malformed',
            'The subject token does not match the session token in the request.',
          );
        const done = renewals.take(live.session.id);
        const { audience, requestedTokenType: type } = form;
        return await deriveToken(context, { live, audience, type, event }).finally(done);
      },
    }),
    route({
      at: 'POST /certificates',
      action: 'certificate.issue',
      authentication: session,
      schema: CertificateRequest,
      handler: async ({ caller: { live }, body, event, response }) => {
        const done = renewals.take(live.session.id);
        const signal = whenGone(response);
        return await issueCertificates(context, { body, live, event, signal }).finally(done);
      },
    }),
    // Reports and reads do not grant anything, so they are written to the audit log only if they are refused.
    route({
      at: 'POST /session/refusals',
      action: 'session.heartbeat',
      authentication: session,
      schema: RefusalReportRequest,
      limit: MAX_REPORT,
      handler: async ({ caller: { live }, body, event }) => {
        reportedRefusals.take(live, body, { source: event.source });
      },
    }),
    route({
      at: 'GET /services',
      action: 'services.read',
      authentication: session,
      handler: async ({ caller: { live } }) => buildServicesResponse(context, live.session),
    }),
    // The lease proof is the only credential. Edges use the route in routes/edge.ts instead.
    route({
      at: 'POST /leases',
      action: 'session.heartbeat',
      accepts: ({ headers }) => headers.authorization === undefined,
      authentication: () => undefined,
      schema: LeaseRequest.extend({ leases: LeaseRequest.shape.leases.max(1) }),
      limit: MAX_LEASE,
      // A renewal does not grant anything, so it is written to the audit log only if it is refused.
      handler: async ({ body, event, request }) => {
        const lease = body.leases[0]!;
        const statement = context.control.renewOne(lease, event);
        if (context.live.byId(lease.session_id)) connections.belongs(request.socket, lease.session_id);
        return { answers: [{ session_id: lease.session_id, statement }] };
      },
    }),
    ...configurationRoutes(context, session),
    ...kubernetesRoutes(context, session),
    route({
      at: 'DELETE /session',
      action: 'session.close',
      authentication: session,
      handler: async ({ caller: { live }, event }) => {
        // closeSession() writes its own audit row.
        const { source, requestId } = event;
        await closeSession(context, live, { cause: 'goodbye', source, requestId });
      },
    }),
  ];
}

/** Creates a signal that aborts when the client disconnects, so that abandoned work does not delay other requests. */
function whenGone(response: ServerResponse): AbortSignal {
  const gone = new AbortController();
  response.once('close', () => gone.abort());
  return gone.signal;
}

async function tokenForm(request: IncomingMessage): Promise<TokenForm> {
  return parseTokenForm(request.headers['content-type'], await readBody(request, MAX_FORM));
}
