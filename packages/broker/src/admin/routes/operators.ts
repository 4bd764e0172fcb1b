/** Routes for operators to sign in and out, list roles and sessions, and end sessions. */

import { type Access, OPERATOR_ROLES, operatorClientOf } from '@meshpass/access';
import { JWT_TOKEN_TYPE, MeshpassError, OPERATOR_SESSION_TYPE, sourceGroup } from '@meshpass/identity';
import { MAX_ID_TOKEN_LENGTH } from '@meshpass/identity/sign-in';
import { z } from 'zod';
import { annotateEvent } from '../../audit/index.ts';
import { createRateAllowance, timestamp, toUnixSeconds } from '../../base/index.ts';
import { parseTokenForm } from '../../core/index.ts';
import { createSlots, type Route, readBody, route } from '../../http/index.ts';
import { actionRequirements, OPERATOR_ACTIONS, type OperatorAction } from '../operator/actions.ts';
import { may, type OperatorCaller, type OperatorSession } from '../operator/caller.ts';
import { confirmSignIn } from '../operator/confirm-sign-in.ts';
import { closeOperatorSessions, signOut } from '../operator/end-sessions.ts';
import { type AuthorizedRoute, formatOperatorReason, Reason } from '../operator/operator-route.ts';
import { callerOf } from '../operator/sessions.ts';
import { operatorIssuers, signIn } from '../operator/sign-in.ts';
import type { AdminContext } from '../process.ts';

/**
 * The maximum number of concurrent sign-ins, in total and per source. They are limited because each one may send a
 * request to an issuer.
 */
const SIGN_INS = { total: 16, perSource: 4 };

/** The rate limit for confirming a single session. */
const CONFIRMATIONS = { burst: 10, perSecond: 0.5 };

/** The body of `POST /operator/session/confirm`. */
export const ConfirmSignInBody = z.strictObject({ id_token: z.string().min(1).max(MAX_ID_TOKEN_LENGTH) });
const id = z.string().min(1).max(64);
/** The body of `POST /operator/sessions/close`. */
export const CloseOperatorSessionsBody = z
  .strictObject({
    id: id.optional(),
    /** Ends all sessions of this subject, including those that this broker has not seen. */
    subject: z.string().min(1).max(512).optional(),
    reason: Reason.optional(),
  })
  .refine(({ id, subject }) => (id === undefined) !== (subject === undefined), {
    message: 'specify either id or subject',
  });

/**
 * Returns the routes for clients that do not have an operator session, which are `GET /operator/sign-in` and
 * `POST /operator/session`.
 */
export function operatorSignInRoutes(context: AdminContext): readonly Route[] {
  const { operators, publicUrl } = context;
  const slots = createSlots(SIGN_INS.total, SIGN_INS.perSource);
  return [
    // The ids of public clients are not secret. Every browser that signs in exposes them anyway.
    route({
      at: 'GET /operator/sign-in',
      action: 'operator.sign-in',
      authentication: () => undefined,
      handler: async () => {
        const issuers = operatorIssuers(context.access()).map(({ name, issuer, signIn }) => {
          const { scopes, refresh, consent = true } = signIn;
          return { name, issuer, client: operatorClientOf(signIn), scopes, refresh, consent };
        });
        return { broker: publicUrl, issuers };
      },
    }),
    route({
      at: 'POST /operator/session',
      action: 'operator.sign-in',
      authentication: operators.keyAuthentication,
      read: async (request) => parseTokenForm(request.headers['content-type'], await readBody(request)),
      atTokenEndpoint: true,
      handler: async ({ caller: { jkt }, body: form, event }) => {
        const leave = slots.take(sourceGroup(event.source ?? 'unknown'));
        const request = { token: form.subjectToken, tokenType: form.subjectTokenType, jkt, event };
        const exchange = () => signIn(context, request);
        const asks = form.subjectTokenType === JWT_TOKEN_TYPE;
        const opening = asks ? operators.askOutside(event, exchange) : exchange();
        const { session, caller } = await opening.finally(leave);
        return {
          access_token: await context.tokens.issue(session),
          issued_token_type: OPERATOR_SESSION_TYPE,
          token_type: 'DPoP',
          ...timesOf(context, session),
          broker: publicUrl,
          operator: describeCaller(caller),
        };
      },
    }),
  ];
}

/** Returns how many seconds remain until a session ends and until it has to be confirmed. */
function timesOf({ clock, operatorSessions }: AdminContext, session: OperatorSession) {
  const now = toUnixSeconds(clock);
  return { expires_in: session.expiresAt - now, confirm_in: operatorSessions.confirmedUntil(session) - now };
}

/**
 * Returns `GET` and `DELETE /operator/session`, `POST /operator/session/confirm`, `GET /operator/roles`,
 * `GET /operator/sessions` and `POST /operator/sessions/close`.
 */
export function operatorsRoutes(context: AdminContext): readonly AuthorizedRoute[] {
  const { on, operatorSessions } = context;
  const slots = createSlots(SIGN_INS.total, SIGN_INS.perSource);
  const attempts = createRateAllowance({ ...CONFIRMATIONS, clock: context.clock });
  return [
    on('GET /operator/session', { does: 'operators.whoami', action: 'operator.list' }, async ({ caller }) => {
      const { session } = caller;
      return {
        operator: describeCaller(caller),
        expires_at: session ? timestamp(session.expiresAt) : null,
        confirmed_until: session ? timestamp(operatorSessions.confirmedUntil(session)) : null,
        actions: ACTIONS.filter((name) => may(caller, name)),
      };
    }),
    on(
      'POST /operator/session/confirm',
      {
        does: 'operators.confirm-sign-in',
        action: 'operator.confirm-sign-in',
        schema: ConfirmSignInBody,
        limit: MAX_ID_TOKEN_LENGTH + 1_024,
      },
      async ({ caller, body, event }) => {
        const session = caller.session!;
        attempts.spend(session.id, 'Too many confirmations for this session. Wait before you try again.');
        const leave = slots.take(sourceGroup(event.source ?? 'unknown'));
        const confirmed = await confirmSignIn(context, { session, token: body.id_token, event }).finally(leave);
        const operator = describeCaller(callerOf(confirmed, context.access()));
        const access_token = await context.tokens.issue(confirmed);
        return { access_token, operator, ...timesOf(context, confirmed) };
      },
    ),
    on(
      'DELETE /operator/session',
      { does: 'operators.logout', action: 'operator.sign-out' },
      async ({ caller, event }) => await signOut(context, caller, event),
    ),
    on('GET /operator/roles', { does: 'operators.roles', action: 'operator.list' }, async () => ({
      actions: ACTIONS.map((action) => ({ action, roles: actionRequirements(action).roles })),
    })),
    on('GET /operator/sessions', { does: 'operators.list', action: 'operator.list' }, async () => ({
      sessions: operatorSessions.all().map((one) => describeSession(one, context.access())),
    })),
    on(
      'POST /operator/sessions/close',
      {
        does: ({ id }) => (id === undefined ? 'operators.close-person' : 'operators.close'),
        action: 'operator.sign-out',
        schema: CloseOperatorSessionsBody,
      },
      async ({ body: { id, subject }, caller, event, because }) => {
        annotateEvent(event, { target: id ?? subject });
        if (id === undefined ? !isPossible(subject!, context) : !z.uuid().safeParse(id).success)
          throw new MeshpassError('not_found', 'This id or subject cannot belong to an operator session.');
        // This also ends sessions that this broker has not seen.
        const seen = operatorSessions.all().flatMap((one) => (one.subject === subject ? [one.id] : []));
        const sessions = id === undefined ? seen : [id];
        const reason = formatOperatorReason(caller, because);
        await closeOperatorSessions(context, { sessions, subject, cause: 'operator', reason }, event);
        return { closed: sessions };
      },
    ),
  ];
}

const ACTIONS = Object.keys(OPERATOR_ACTIONS) as OperatorAction[];

/** Whether the subject could belong to a person or a ServiceAccount that can sign in. */
function isPossible(subject: string, { access }: Pick<AdminContext, 'access'>): boolean {
  return ['kubernetes', ...access().trust.issuers.map(({ name }) => name)].some((name) =>
    subject.startsWith(`${name}:`),
  );
}

function describeCaller({ kind, issuer, subject, login, roles }: OperatorCaller) {
  const ordered = OPERATOR_ROLES.flatMap((role) => roles.filter((held) => held.role === role));
  return { kind, issuer, subject, login, roles: ordered };
}

/** Describes a session without its attestation and key binding. */
function describeSession(session: OperatorSession, access: Access) {
  const { id, source, openedAt, expiresAt, confirmedAt } = session;
  return {
    id,
    ...describeCaller(callerOf(session, access)),
    source: source ?? null,
    opened_at: timestamp(Math.floor(openedAt / 1000)),
    expires_at: timestamp(expiresAt),
    confirmed_at: timestamp(confirmedAt),
  };
}
