/** Operators themselves: how they sign in and out, who they are, who is signed in, and that somebody is not any more. */

import type { IncomingMessage } from 'node:http';
import { OPERATOR_ROLES, operatorClientOf, type SignInClient } from '@meshpass/access';
import { MeshpassError, OPERATOR_SESSION_TYPE } from '@meshpass/identity';
import { MAX_ID_TOKEN } from '@meshpass/identity/sign-in/wire';
import { z } from 'zod';
import { granted, refused } from '../../audit/log/decision.ts';
import { seconds, timestamp } from '../../clock/clock.ts';
import { createRateAllowance } from '../../limits/rate-allowance.ts';
import { groupOf } from '../../limits/source-address.ts';
import { OPERATOR_ACTIONS, type OperatorAction, termsOf } from '../../operator/actions.ts';
import { nameOf, type OperatorCaller } from '../../operator/caller.ts';
import { confirmSignIn } from '../../operator/confirm-sign-in.ts';
import { closeOperatorSessions } from '../../operator/end-sessions.ts';
import { callerOf, confirmedUntil, type OperatorSession } from '../../operator/sessions.ts';
import { type SignInContext, signIn } from '../../operator/sign-in.ts';
import { readTokenForm, type TokenForm } from '../../token/form.ts';
import { readBody } from '../body.ts';
import { askedBy, type MountedOperatorRoute, operatorRoute, Reason } from '../operator-route.ts';
import type { Operators } from '../operators.ts';
import { type Route, type RouteContext, route } from '../route.ts';
import { createSlots } from '../slots.ts';

export interface OperatorsContext extends RouteContext, SignInContext {
  readonly operators: Operators;
}

/** Sign-ins that may be under way at once, in all and from one source: each may ask an issuer. */
const SIGN_INS = { total: 16, perSource: 4 };

/** Confirmations of one session: at once, and a second after that. */
const CONFIRMATIONS = { burst: 10, perSecond: 0.5 };

export const ConfirmSignInOrder = z.strictObject({ id_token: z.string().min(1).max(MAX_ID_TOKEN) });
const id = z.string().min(1).max(64);
export const CloseOperatorsOrder = z
  .strictObject({
    id: id.optional(),
    /** Every session of this subject. */
    subject: z.string().min(1).max(512).optional(),
    reason: Reason.optional(),
  })
  .refine(({ id, subject }) => (id === undefined) !== (subject === undefined), { message: 'name id or subject' });

/** `GET /operator/sign-in` and `POST /operator/session`: for whoever is no operator yet. */
export function signInRoutes(context: OperatorsContext): readonly Route[] {
  const { operators, publicUrl } = context;
  const slots = createSlots(SIGN_INS.total, SIGN_INS.perSource);
  return [
    // Client ids of public clients are no secret: every browser that signs in shows them.
    route({
      method: 'GET',
      path: '/operator/sign-in',
      action: 'operator.sign-in',
      authentication: ({ event }) => granted(event, undefined),
      handler: async ({ event }) => {
        const { trust, operators: named } = context.access();
        const issuers = trust.issuers.flatMap(({ name, issuer, signIn }) =>
          signIn && named ? [offerOf(name, issuer, signIn)] : [],
        );
        return granted(event, { broker: publicUrl, issuers });
      },
    }),
    route({
      method: 'POST',
      path: '/operator/session',
      action: 'operator.sign-in',
      authentication: operators.keyAuthentication,
      read: tokenForm,
      atTokenEndpoint: true,
      handler: async ({ caller: { jkt }, body: form, event }) => {
        const leave = slots.take(groupOf(event.source ?? 'unknown'));
        const request = { token: form.subjectToken, tokenType: form.subjectTokenType, jkt, event };
        const done = await signIn(context, request).finally(leave);
        if (!done.granted) {
          if (done.error.status < 500) operators.failed(event);
          return done;
        }
        const { session, token, caller } = done.value;
        return granted(done.event, {
          access_token: token,
          issued_token_type: OPERATOR_SESSION_TYPE,
          token_type: 'DPoP',
          ...timesOf(context, session),
          broker: publicUrl,
          operator: describeCaller(caller),
        });
      },
    }),
  ];
}

function offerOf(name: string, issuer: string, signIn: SignInClient) {
  const { scopes, refresh, consent = true } = signIn;
  return { name, issuer, client: operatorClientOf(signIn), scopes, refresh, consent };
}

/** Seconds from now on. */
function timesOf({ clock, access }: Pick<OperatorsContext, 'clock' | 'access'>, session: OperatorSession) {
  const now = seconds(clock);
  return { expires_in: session.expiresAt - now, confirm_in: confirmedUntil(session, access()) - now };
}

async function tokenForm(request: IncomingMessage): Promise<TokenForm> {
  return readTokenForm(request.headers['content-type'], await readBody(request));
}

/** `GET` and `DELETE /operator/session`, `POST /operator/session/confirm`, `GET /operator/roles`, `GET /operator/sessions`, `POST /operator/sessions/close`. */
export function operatorsRoutes(context: OperatorsContext): readonly MountedOperatorRoute[] {
  const { operators, sessions } = context;
  const unconfirmed = {
    authentication: operators.unconfirmedAuthentication,
    confirmations: operators.confirmations,
  };
  const slots = createSlots(SIGN_INS.total, SIGN_INS.perSource);
  const attempts = createRateAllowance({ ...CONFIRMATIONS, clock: context.clock });
  const listed = () => sessions.all().map((session) => ({ session, caller: callerOf(session, context.access()) }));
  return [
    operatorRoute(
      operators,
      { does: 'operators.whoami', method: 'GET', path: '/operator/session', action: 'operator.list' },
      async ({ caller, event }) => {
        const session = sessions.byId(caller.sessionId);
        const actions = Object.keys(OPERATOR_ACTIONS).filter((name) => may(caller, name as OperatorAction));
        return granted(event, {
          operator: describeCaller(caller),
          expires_at: session ? timestamp(session.expiresAt) : null,
          confirmed_until: session ? timestamp(confirmedUntil(session, context.access())) : null,
          actions,
        });
      },
    ),
    operatorRoute(
      unconfirmed,
      {
        does: 'operators.confirm-sign-in',
        ...{ method: 'POST', path: '/operator/session/confirm', action: 'operator.confirm-sign-in' },
        ...{ schema: ConfirmSignInOrder, limit: MAX_ID_TOKEN + 1_024 },
      },
      async ({ caller, body, event }) => {
        const { sessionId } = caller;
        if (!attempts.take(sessionId ?? '')) throw tooMany();
        const leave = slots.take(groupOf(event.source ?? 'unknown'));
        const done = await confirmSignIn(context, { sessionId, token: body.id_token, event }).finally(leave);
        if (!done.granted) return done;
        const operator = describeCaller(callerOf(done.value, context.access()));
        return granted(done.event, { operator, ...timesOf(context, done.value) });
      },
    ),
    operatorRoute(
      unconfirmed,
      { does: 'operators.logout', method: 'DELETE', path: '/operator/session', action: 'operator.sign-out' },
      async ({ caller, event }) => {
        const own = sessions.all().filter(({ id }) => id === caller.sessionId);
        const done = await closeOperatorSessions(context, own, 'logout', {
          ...event,
          reason: `${nameOf(caller)} signed out.`,
        });
        return done.granted ? granted(done.event, undefined) : done;
      },
    ),
    operatorRoute(
      operators,
      { does: 'operators.roles', method: 'GET', path: '/operator/roles', action: 'operator.list' },
      async ({ event }) =>
        granted(event, {
          actions: Object.keys(OPERATOR_ACTIONS).map((action) => ({
            action,
            roles: termsOf(action as OperatorAction).roles,
          })),
        }),
    ),
    operatorRoute(
      operators,
      { does: 'operators.list', method: 'GET', path: '/operator/sessions', action: 'operator.list' },
      async ({ event }) => granted(event, { sessions: listed().map(describeSession) }),
    ),
    operatorRoute(
      operators,
      {
        does: {
          among: ['operators.close', 'operators.close-person'],
          of: ({ body }) => (body.id === undefined ? 'operators.close-person' : 'operators.close'),
        },
        ...{ method: 'POST', path: '/operator/sessions/close', action: 'operator.sign-out' },
        schema: CloseOperatorsOrder,
      },
      async ({ body: { id, subject }, caller, event, because }) => {
        const selected = sessions.all().filter((one) => one.id === id || one.subject === subject);
        const target = id ?? subject;
        if (selected.length === 0)
          return refused({ ...event, target }, new MeshpassError('not_found', 'No operator is signed in like this.'));
        const reason = askedBy(caller, because);
        const done = await closeOperatorSessions(context, selected, 'operator', { ...event, target, reason });
        return done.granted ? granted(done.event, { closed: selected.map((one) => one.id) }) : done;
      },
    ),
  ];
}

export function may({ kind, roles }: OperatorCaller, action: OperatorAction): boolean {
  const terms = termsOf(action);
  return kind === 'break-glass' ? !terms.notInAnEmergency : roles.some(({ role }) => terms.roles.includes(role));
}

function describeCaller({ kind, issuer, subject, login, roles }: OperatorCaller) {
  const ordered = OPERATOR_ROLES.flatMap((role) => roles.filter((held) => held.role === role));
  return { kind, issuer, subject, login, roles: ordered };
}

function tooMany(): MeshpassError {
  return new MeshpassError('too_many_attempts', 'Too many confirmations of this session; wait.', {
    retryAfter: 1 / CONFIRMATIONS.perSecond,
  });
}

/** Nothing of it is a secret: the hash of its token stays out. */
function describeSession({ session, caller }: { readonly session: OperatorSession; readonly caller: OperatorCaller }) {
  const { id, source, openedAt, expiresAt, confirmedAt } = session;
  return {
    ...{ id, ...describeCaller(caller), source: source ?? null },
    ...{ opened_at: timestamp(openedAt), expires_at: timestamp(expiresAt), confirmed_at: timestamp(confirmedAt) },
  };
}
