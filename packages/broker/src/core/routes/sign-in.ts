/** Routes for the sign-ins of sessions and for logout tokens from issuers (docs/identity/sign-in.md). */
import type { IncomingMessage } from 'node:http';
import { setTimeout as pause } from 'node:timers/promises';
import { isSignInTrusted } from '@meshpass/access';
import { type Attestation, MeshpassError, type SignIn, sourceGroup, toMeshpassError } from '@meshpass/identity';
import {
  MAX_ID_TOKEN_LENGTH,
  type SignInOffer,
  SignInRequest,
  type SignInsResponse,
  SignOutRequest,
} from '@meshpass/identity/sign-in';
import { type AuditEvent, annotateEvent, type Origin, recordAllowed } from '../../audit/index.ts';
import { createRateAllowance, toUnixSeconds } from '../../base/index.ts';
import { type Authentication, createSlots, type Route, readBody, route } from '../../http/index.ts';
import { unknownIssuerError, type VerifiedLogout } from '../../issuers/index.ts';
import type { SessionContext } from '../session/context.ts';
import { addSignIn, endSignIn, signOutEverywhere } from '../sign-in/sign-in.ts';
import type { SessionCaller } from './authenticate.ts';

/**
 * The maximum body size of a sign-in request, in bytes. It leaves room for the longest ID token plus the other fields.
 */
const MAX_BODY = MAX_ID_TOKEN_LENGTH + 1_024;
/**
 * The maximum number of concurrent verifications, in total and per session (for sign-ins) or source address (for
 * logouts).
 */
const SLOTS = { all: 256, each: 2 } as const;
/** How long the store has to reject a logout token before it is applied anyway, in milliseconds. */
const STORE_PATIENCE_MS = 500;
/**
 * Limits sign-ins per session (burst size, and refill rate per second). Agents confirm a sign-in twice per interval
 * that the access file sets.
 */
const ATTEMPTS = { burst: 10, perSecond: 0.5 } as const;

/**
 * Creates the routes for sign-ins and logouts.
 * @param session authenticates requests by the session's token and key
 * @param signOutOperators ends the operator sessions that are affected by a logout
 */
export function signInRoutes(
  context: SessionContext,
  session: Authentication<SessionCaller>,
  signOutOperators: (out: VerifiedLogout, origin: Origin) => Promise<void>,
): readonly Route[] {
  const verifying = createSlots(SLOTS.all, SLOTS.each);
  const loggingOut = createSlots(SLOTS.all, SLOTS.each * 8);
  const attempts = createRateAllowance({ ...ATTEMPTS, clock: context.clock });
  const answer = (attestation: Attestation) => buildSignInsResponse(context, attestation);
  /** The replay keys of the logout tokens that are currently being stored. */
  const storing = new Set<string>();

  /**
   * Applies a logout token, unless the store already has it, because a repeated token must not end later sign-ins. If
   * the store is slow, the logout is only briefly delayed.
   */
  const takeLogout = async (out: VerifiedLogout, event: AuditEvent): Promise<void> => {
    const { key } = out.replay;
    if (storing.has(key)) throw new MeshpassError('proof_replayed', 'This logout token is already being recorded.');
    storing.add(key);
    const writing = recordAllowed(context.audit, event, (tx) => tx.once(out.replay)).finally(() => storing.delete(key));
    const isRepeated = writing.then(
      () => false,
      (thrown: unknown) => toMeshpassError(thrown).code === 'proof_replayed',
    );
    if (await Promise.race([isRepeated, pause(STORE_PATIENCE_MS, false, { ref: false })])) return await writing;
    await Promise.all([signOutEverywhere(context, out, event), signOutOperators(out, event)]);
    // The response is defined in OpenID Connect Back-Channel Logout 1.0 section 2.8.
    await writing;
  };

  return [
    route({
      at: 'GET /session/sign-in',
      action: 'sign_in.read',
      authentication: session,
      handler: async ({ caller }) => answer(caller.live.session.attestation),
    }),
    route({
      at: 'POST /session/sign-in',
      action: 'sign_in.add',
      authentication: session,
      schema: SignInRequest,
      limit: MAX_BODY,
      handler: async ({ caller: { live: one }, body, event }) => {
        if (!attempts.take(one.session.id))
          throw new MeshpassError('too_many_attempts', 'Too many attempts; try again in a moment.', { retryAfter: 5 });
        const done = verifying.take(one.session.id);
        await addSignIn(context, one, body, event).finally(done);
        return answer(one.session.attestation);
      },
    }),
    route({
      at: 'POST /session/sign-out',
      action: 'sign_in.end',
      authentication: session,
      schema: SignOutRequest,
      handler: async ({ caller: { live: one }, body: { issuer }, event }) => {
        // endSignIn() writes its own audit row.
        await endSignIn(context, one, issuer, event);
        return one.ended ? { sign_ins: [], lacking: [] } : answer(one.session.attestation);
      },
    }),
    route({
      at: 'POST /sign-in/backchannel-logout/:name',
      action: 'sign_in.logout',
      // The token itself is the proof, so it does not matter who delivers it.
      authentication: () => undefined,
      read: logoutForm,
      handler: async ({ body: token, params, event }) => {
        const name = String(params.name);
        const done = loggingOut.take(sourceGroup(event.source ?? 'unknown'));
        try {
          if (!context.verifyLogout) throw unknownIssuerError(name);
          const out = await context.verifyLogout(name, token);
          annotateEvent(event, {
            known: true,
            issuer: out.issuer,
            subject: out.subject,
            reason: `${out.issuer} reported a sign-out.`,
            detail: { sid: out.sid, signed_out_at: out.at },
          });
          await takeLogout(out, event);
        } finally {
          done();
        }
      },
    }),
  ];
}

/** Returns the OAuth client for sign-ins at an issuer, or undefined if the issuer does not have one. */
export function signInOffer({ mesh }: Pick<SessionContext, 'mesh'>, name: string): SignInOffer | undefined {
  const found = mesh.inForce() ? mesh.access().trust.issuers.find((one) => one.name === name) : undefined;
  if (!found?.signIn) return undefined;
  const { client, scopes, refresh } = found.signIn;
  const wanted = ['openid', ...(refresh ? ['offline_access'] : []), ...scopes];
  return { name, issuer: found.issuer, client_id: client, scopes: [...new Set(wanted)], refresh };
}

/** Builds the response that lists a session's sign-ins, and the grants that still require a sign-in. */
function buildSignInsResponse({ mesh, authorize, clock }: SessionContext, attestation: Attestation): SignInsResponse {
  const now = toUnixSeconds(clock);
  const access = mesh.inForce() ? mesh.access() : undefined;
  const lacking = access ? (authorize(attestation, access, now).signIns ?? []) : [];
  const counting = (attestation.signIns ?? []).filter(
    (one) => one.until > now && (!access || isSignInTrusted(one, access.trust)),
  );
  const offered = access?.trust.issuers.filter(({ signIn }) => signIn !== undefined) ?? [];
  return {
    sign_ins: counting.map(stateOf),
    lacking: lacking.map(({ grant, issuer }) => ({ grant, issuer })),
    issuers: offered.map(({ name }) => name).slice(0, 100),
  };
}

function stateOf({ issuer, subject, login, since, until, authTime, amr, confirm }: SignIn) {
  return {
    issuer,
    subject,
    login,
    since,
    until,
    amr: [...amr],
    ...(authTime !== undefined && { auth_time: authTime }),
    ...(confirm !== undefined && { confirm_seconds: confirm }),
  };
}

/** Reads the logout token from a request body (OpenID Connect Back-Channel Logout 1.0 section 2.5). */
async function logoutForm(request: IncomingMessage): Promise<string> {
  const type = request.headers['content-type']?.split(';')[0]?.trim().toLowerCase();
  const malformed = (message: string) => new MeshpassError('request_malformed', message);
  if (type !== 'application/x-www-form-urlencoded')
    throw malformed('The content type must be application/x-www-form-urlencoded.');
  const [token, ...more] = new URLSearchParams(await readBody(request, MAX_BODY)).getAll('logout_token');
  if (token === undefined || token === '' || more.length > 0)
    throw malformed('The form must contain exactly one logout_token.');
  return token;
}
