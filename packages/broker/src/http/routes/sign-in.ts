/** Sign-ins of a session, and what issuers say of them (docs/identity/sign-in.md). */
import type { IncomingMessage } from 'node:http';
import type { Authorize, TrustedIssuer } from '@meshpass/access';
import { type Attestation, MeshpassError, type SignIn } from '@meshpass/identity';
import {
  MAX_ID_TOKEN,
  type SignInOffer,
  SignInRequest,
  type SignInsResponse,
  SignOutRequest,
} from '@meshpass/identity/sign-in/wire';
import type { SignedOut, VerifyLogout } from '../../attest/oidc/logout-token.ts';
import { unknownIssuer } from '../../attest/oidc/sign-in.ts';
import { granted, type Outcome, recordGrant, refused } from '../../audit/log/decision.ts';
import type { AuditEvent, Origin } from '../../audit/log/event.ts';
import { usedBefore } from '../../audit/log/journal.ts';
import { seconds } from '../../clock/clock.ts';
import { createRateAllowance } from '../../limits/rate-allowance.ts';
import { groupOf } from '../../limits/source-address.ts';
import { addSignIn, endSignIn, type SignInContext, signOutEverywhere } from '../../sign-in/sign-in.ts';
import { type AuthenticationContext, sessionAuthentication } from '../authenticate.ts';
import { readBody } from '../body.ts';
import { type Route, route } from '../route.ts';
import { createSlots } from '../slots.ts';

export interface SignInRoutesContext {
  readonly signIns: SignInContext;
  readonly verifyLogout: VerifyLogout | undefined;
  /** Ends sessions of operators that a logout concerns. */
  readonly signOutOperators: (out: SignedOut, origin: Origin) => Promise<void>;
}

/** Longest body of a sign-in: the longest ID token, and room for the rest. */
const MAX_BODY = MAX_ID_TOKEN + 1_024;
/** Sign-ins that are being verified at once, in all and of one session; logouts, in all and of one source. */
const SLOTS = { all: 256, each: 2 } as const;
/** Logout tokens of one source (an IPv4 address, an IPv6 /64) that are not taken: at once, and a second after that. */
const LOGOUTS = { burst: 100, perSecond: 20 } as const;
/** Sign-ins of one session: at once, and a second after that. A confirmation comes twice in the time that the access file says. */
const ATTEMPTS = { burst: 10, perSecond: 0.5 } as const;

export function signInRoutes(
  context: SignInRoutesContext & Omit<AuthenticationContext, 'live' | 'clock'>,
): readonly Route[] {
  const { signIns, verifyLogout } = context;
  const { live, clock } = signIns;
  const session = sessionAuthentication({ ...context, live, clock });
  const verifying = createSlots(SLOTS.all, SLOTS.each);
  const loggingOut = createSlots(SLOTS.all, SLOTS.each * 8);
  const attempts = createRateAllowance({ ...ATTEMPTS, clock });
  const logouts = createRateAllowance({ ...LOGOUTS, clock });
  const count = (source: string) => {
    if (!logouts.take(source)) throw tooMany();
  };
  const verified = async (name: string, token: string, source: string): Promise<SignedOut> => {
    try {
      if (!verifyLogout) throw unknownIssuer(name);
      return await verifyLogout(name, token);
    } catch (thrown) {
      // Only what is not taken counts: whoever sends garbage from the provider's address keeps no logout out.
      count(source);
      throw thrown;
    }
  };
  const answer = (attestation: Attestation) => signInsAnswer(signIns, attestation);
  return [
    route({
      method: 'GET',
      path: '/session/sign-in',
      action: 'sign_in.read',
      authentication: session,
      handler: async ({ caller, event }) => granted(event, answer(caller.live.session.attestation)),
    }),
    route({
      method: 'POST',
      path: '/session/sign-in',
      action: 'sign_in.add',
      authentication: session,
      schema: SignInRequest,
      limit: MAX_BODY,
      handler: async ({ caller: { live: one }, body, event }) => {
        if (!attempts.take(one.session.id)) throw tooMany();
        const done = verifying.take(one.session.id);
        const added = await addSignIn(signIns, one, body, event).finally(done);
        return added.granted ? granted(added.event, answer(one.session.attestation)) : added;
      },
    }),
    route({
      method: 'POST',
      path: '/session/sign-out',
      action: 'sign_in.end',
      authentication: session,
      schema: SignOutRequest,
      handler: async ({ caller: { live: one }, body: { issuer }, event }) => {
        // Writes its own row.
        await endSignIn(signIns, one, issuer, event);
        return granted(event, one.ended ? { sign_ins: [], lacking: [] } : answer(one.session.attestation));
      },
    }),
    route({
      method: 'POST',
      path: '/sign-in/backchannel-logout/:name',
      action: 'sign_in.logout',
      // The token itself is the proof: who brings it is nobody's business.
      authentication: ({ event }) => granted(event, undefined),
      read: logoutForm,
      handler: async ({ body: token, params, event }) => {
        const source = groupOf(event.source ?? 'unknown');
        const done = loggingOut.take(source);
        try {
          const out = await verified(String(params.name), token, source);
          const known = {
            ...{ ...event, known: true, issuer: out.issuer, subject: out.subject },
            reason: `${out.issuer} reports that somebody has signed out there.`,
            detail: { sid: out.sid, signed_out_at: out.at },
          };
          if (await signIns.takenLogouts.claim(out)) return await takeLogout(context, out, known);
          // The same token, sent again, says nothing of those who have signed in since.
          count(source);
          return refused(known, usedBefore());
        } finally {
          done();
        }
      },
    }),
  ];
}

/** A token that was claimed. In memory first, so that nobody is let in by what was made before; then what is durable. */
async function takeLogout(
  { signIns, signOutOperators }: Pick<SignInRoutesContext, 'signIns' | 'signOutOperators'>,
  out: SignedOut,
  event: AuditEvent,
): Promise<Outcome<undefined>> {
  const { audit, takenLogouts } = signIns;
  const ended = Promise.all([signOutEverywhere(signIns, out, event), signOutOperators(out, event)]);
  const written = await recordGrant(audit, event, { replay: out.replay });
  if (!written.granted) takenLogouts.release(out);
  await ended;
  // OpenID Connect Back-Channel Logout 1.0 section 2.8.
  return written.granted ? granted(event, undefined) : written;
}

/** With which client people sign in at an issuer; undefined where they cannot. */
export function signInOffer({ mesh }: Pick<SignInContext, 'mesh'>, name: string): SignInOffer | undefined {
  const found = mesh.inForce() ? mesh.access().trust.issuers.find((one) => one.name === name) : undefined;
  return found?.signIn && offerOf(found, found.signIn);
}

function offerOf(
  { name, issuer }: TrustedIssuer,
  { client, scopes, refresh }: NonNullable<TrustedIssuer['signIn']>,
): SignInOffer {
  const wanted = ['openid', ...(refresh ? ['offline_access'] : []), ...scopes];
  return { name, issuer, client_id: client, scopes: [...new Set(wanted)], refresh };
}

/** The sign-ins that a session has, and the grants that lack one. */
export function signInsAnswer(
  { mesh, authorize, clock }: { readonly authorize: Authorize } & Pick<SignInContext, 'mesh' | 'clock'>,
  attestation: Attestation,
): SignInsResponse {
  const now = seconds(clock);
  const lacking = mesh.inForce() ? (authorize(attestation, mesh.access(), now).signIns ?? []) : [];
  const counting = (attestation.signIns ?? []).filter(({ until }) => until > now);
  const offered = mesh.inForce() ? mesh.access().trust.issuers.filter(({ signIn }) => signIn !== undefined) : [];
  return {
    sign_ins: counting.map(stateOf),
    lacking: lacking.map(({ grant, issuer }) => ({ grant, issuer })),
    issuers: offered.map(({ name }) => name).slice(0, 100),
  };
}

function stateOf({ issuer, subject, login, since, until, authTime, amr, confirm }: SignIn) {
  return {
    ...{ issuer, subject, login, since, until, amr: [...amr] },
    ...(authTime !== undefined && { auth_time: authTime }),
    ...(confirm !== undefined && { confirm_seconds: confirm }),
  };
}

/** OpenID Connect Back-Channel Logout 1.0 section 2.5. */
async function logoutForm(request: IncomingMessage): Promise<string> {
  const type = request.headers['content-type']?.split(';')[0]?.trim().toLowerCase();
  const malformed = (message: string) => new MeshpassError('request_malformed', message);
  if (type !== 'application/x-www-form-urlencoded')
    throw malformed('The content type must be application/x-www-form-urlencoded.');
  const [token, ...more] = new URLSearchParams(await readBody(request, MAX_BODY)).getAll('logout_token');
  if (token === undefined || token === '' || more.length > 0) throw malformed('The form must have one logout_token.');
  return token;
}

function tooMany(): MeshpassError {
  return new MeshpassError('too_many_attempts', 'Too many attempts; try again in a moment.', { retryAfter: 5 });
}
