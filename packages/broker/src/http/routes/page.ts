/** The broker's page: people read and answer requests for approval in a browser. docs/access/page.md is its prose. */
import type { IncomingMessage } from 'node:http';
import { ID_TOKEN_TYPE, MeshpassError } from '@meshpass/identity';
import { ApprovalId, ApprovalSeconds } from '@meshpass/identity/approval';
import { sha256Hex } from '@meshpass/identity/hash';
import { z } from 'zod';
import type { Approvals } from '../../approval/approvals.ts';
import { unknown } from '../../approval/refusals.ts';
import { granted, type Outcome, refused } from '../../audit/log/decision.ts';
import type { AuditEvent } from '../../audit/log/event.ts';
import { seconds } from '../../clock/clock.ts';
import { groupOf } from '../../limits/source-address.ts';
import { nameOf, type OperatorCaller } from '../../operator/caller.ts';
import { confirmSignIn } from '../../operator/confirm-sign-in.ts';
import { type BrowserSignIn, isOfPage, type Proven, SIGN_IN_SECONDS } from '../../operator/page/browser-sign-in.ts';
import { cookie, cookieOf, formToken, SESSION_COOKIE, SIGN_IN_COOKIE } from '../../operator/page/cookies.ts';
import { listPage, refusalPage, requestPage, signInPage, type Visitor } from '../../operator/page/html.ts';
import { confirmedUntil, type OperatorSession } from '../../operator/sessions.ts';
import { signIn } from '../../operator/sign-in.ts';
import { type MountedOperatorRoute, operatorRoute, Reason } from '../operator-route.ts';
import { formReader } from '../page-form.ts';
import { type Route, route } from '../route.ts';
import { createSlots } from '../slots.ts';
import { closeOperatorSessions, may, type OperatorsContext } from './operators.ts';

export interface PageContext extends OperatorsContext {
  readonly approvals: Approvals;
  readonly browserSignIn: BrowserSignIn;
  /** Where browsers reach it. */
  readonly origin: string;
}

/** Sign-ins under way at once, in all and from one source: each asks an issuer. */
const SIGN_INS = { total: 16, perSource: 4 };
const SIGN_IN = '/page/sign-in';
const LIST = '/approvals';

const SignInQuery = z.object({ request: ApprovalId.optional().catch(undefined) });
const noReason = z.literal('').transform(() => undefined);
export const AnswerForm = z.discriminatedUnion('decision', [
  z.strictObject({
    decision: z.literal('approve'),
    minutes: z
      .string()
      .regex(/^[1-9][0-9]{0,2}$/, 'is no number of minutes')
      .transform((minutes) => Number(minutes) * 60)
      .pipe(ApprovalSeconds),
    reason: noReason.or(Reason),
  }),
  z.strictObject({ decision: z.literal('deny'), reason: Reason }),
  /** Of what was taken in an emergency. */
  z.strictObject({ decision: z.enum(['accept', 'object']), reason: Reason }),
]);
type AnswerForm = z.output<typeof AnswerForm>;
const ACTION_OF = {
  approve: 'approvals.approve',
  deny: 'approvals.deny',
  accept: 'approvals.review',
  object: 'approvals.review',
} as const;
const NoFields = z.strictObject({});

const toSignIn = (error: MeshpassError, decision: string | undefined) =>
  refusalPage(error, decision, { href: SIGN_IN, text: 'Sign in' });
/** A form that comes too late for the issuer's last word: what was typed is in the browser, and can be sent again. */
const toConfirm = (error: MeshpassError, decision: string | undefined, request: IncomingMessage) => {
  if (error.code !== 'operator_unconfirmed') return toList(error, decision);
  const href = /^\/approvals\/[0-9a-f]{24}$/.exec(request.url ?? '')?.[0] ?? LIST;
  const then = 'in a new tab, then reload this page: your browser sends the form again.';
  return refusalPage(error, decision, { href, text: 'Have it confirmed', then });
};
const toList = (error: MeshpassError, decision: string | undefined) =>
  error.status === 401 ? toSignIn(error, decision) : refusalPage(error, decision, { href: LIST, text: 'All requests' });

/** Pages for whoever is not signed in. */
export function pageSignInRoutes(context: PageContext): readonly Route[] {
  const { browserSignIn, clock, operators } = context;
  const slots = createSlots(SIGN_INS.total, SIGN_INS.perSource);
  const shared = { method: 'GET', action: 'operator.sign-in', refusal: toSignIn } as const;
  const isStranger = (request: IncomingMessage) => cookieOf(request, SESSION_COOKIE) === undefined;
  const isUnconfirmed = (request: IncomingMessage) => {
    const session = sessionOf(context, request);
    try {
      return session !== undefined && confirmedUntil(session, context.access()) <= seconds(clock);
    } catch {
      // No access file is in force: the page says so.
      return false;
    }
  };
  const hold = async <T>(source: string | undefined, act: () => Promise<T>): Promise<T> => {
    const leave = slots.take(groupOf(source ?? 'unknown'));
    return await act().finally(leave);
  };

  return [
    ...[LIST, `${LIST}/:id`].map((path) =>
      route({
        ...{ ...shared, path, accepts: isStranger },
        authentication: ({ event }) => granted(event, undefined),
        handler: async ({ params, event }) => {
          const { data } = ApprovalId.safeParse(params.id);
          return granted(event, seeOther(signInAt(data)));
        },
      }),
    ),
    // Where the person is still signed in at the issuer, they notice nothing.
    ...[LIST, `${LIST}/:id`].map((path) =>
      route({
        ...{ ...shared, path, accepts: isUnconfirmed },
        authentication: ({ event }) => granted(event, undefined),
        handler: async ({ params, request, event }) => {
          const { data } = ApprovalId.safeParse(params.id);
          const session = sessionOf(context, request);
          if (!session) return granted(event, seeOther(signInAt(data)));
          const begun = await hold(event.source, () => browserSignIn.begin(session.issuer, data, true));
          return granted(event, seeOther(begun.location, cookie(SIGN_IN_COOKIE, begun.cookie, SIGN_IN_SECONDS)));
        },
      }),
    ),
    route({
      ...{ ...shared, path: SIGN_IN },
      authentication: ({ event }) => granted(event, undefined),
      handler: async ({ query, event }) =>
        granted(event, await signInPage(browserSignIn.issuers(), SignInQuery.parse(query).request)),
    }),
    route({
      ...{ ...shared, path: `${SIGN_IN}/:issuer` },
      authentication: ({ event }) => granted(event, undefined),
      handler: async ({ params, query, event }) => {
        const { request } = SignInQuery.parse(query);
        const begun = await hold(event.source, () => browserSignIn.begin(params.issuer ?? '', request));
        return granted(event, seeOther(begun.location, cookie(SIGN_IN_COOKIE, begun.cookie, SIGN_IN_SECONDS)));
      },
    }),
    route({
      ...{ ...shared, path: '/page/callback/:issuer' },
      authentication: operators.strangerAuthentication,
      handler: async ({ params, request, event }) =>
        await hold(event.source, async () => {
          const { search } = new URL(request.url ?? '/', context.origin);
          const kept = cookieOf(request, SIGN_IN_COOKIE);
          const proven = await browserSignIn.finish(params.issuer ?? '', kept, search).catch((thrown: unknown) => {
            // Cookie and query of an answer are easily made up: nobody has the issuer asked without end.
            if (thrown instanceof MeshpassError && thrown.detail.asked === true) operators.failed(event);
            throw thrown;
          });
          if (proven.silent) return await confirmed(context, proven, request, event);
          const { idToken = '', binding, request: wanted } = proven;
          const done = await signIn(context, { token: idToken, tokenType: ID_TOKEN_TYPE, jkt: binding, event });
          if (!done.granted) {
            if (done.error.status < 500) operators.failed(event);
            return done;
          }
          const { session, token } = done.value;
          // A token that the broker has just made: whatever cookie the browser had before is worth nothing for it.
          const next = seeOther(
            pageOf(wanted),
            cookie(SESSION_COOKIE, token, session.expiresAt - seconds(clock)),
            cookie(SIGN_IN_COOKIE, '', 0),
          );
          return granted(done.event, next);
        }),
    }),
  ];
}

/** The issuer has confirmed who is signed in there, and showed nothing. Only the session that the browser has goes on by it. */
async function confirmed(
  context: PageContext,
  { idToken, binding, request: wanted }: Proven,
  request: IncomingMessage,
  event: AuditEvent,
): Promise<Outcome<Response>> {
  const session = sessionOf(context, request);
  const over = cookie(SIGN_IN_COOKIE, '', 0);
  if (idToken === undefined || !session) return granted(event, seeOther(signInAt(wanted), over));
  const { id, subject, login, issuer } = session;
  const known = { ...event, action: 'operator.confirm-sign-in' as const, subject, login, issuer };
  const asked = { sessionId: id, token: idToken, binding, event: { ...known, detail: { operator_session: id } } };
  const done = await confirmSignIn(context, asked);
  return done.granted ? granted(done.event, seeOther(pageOf(wanted), over)) : done;
}

/** The session of the page that a browser has, whether it is confirmed or not. */
function sessionOf({ sessions, clock }: PageContext, request: IncomingMessage): OperatorSession | undefined {
  const session = sessions.byToken(sha256Hex(cookieOf(request, SESSION_COOKIE) ?? ''));
  return session && isOfPage(session) && session.expiresAt > seconds(clock) ? session : undefined;
}

/** `GET /approvals`, `GET` and `POST /approvals/ID`, `POST /page/sign-out`. */
export function pageRoutes(context: PageContext): readonly MountedOperatorRoute[] {
  const { approvals, origin, sessions } = context;
  const { pageAuthentication: authentication, unconfirmedPageAuthentication, confirmations } = context.operators;
  const operators = { authentication, confirmations };
  return [
    operatorRoute(
      operators,
      { does: 'approvals.list', method: 'GET', path: LIST, action: 'approval.list', refusal: toSignIn },
      async ({ caller, request, event }) =>
        granted(event, await listPage(visitorOf(caller, request), await approvals.list())),
    ),
    operatorRoute(
      operators,
      { does: 'approvals.show', method: 'GET', path: `${LIST}/:id`, action: 'approval.list', refusal: toList },
      async ({ caller, request, params: { id = '' }, event }) => {
        const [found] = ApprovalId.safeParse(id).success ? await approvals.list(id) : [];
        if (!found) return refused({ ...event, target: id }, unknown(id.slice(0, 24)));
        const does = found.emergency ? 'approvals.review' : 'approvals.approve';
        const form = may(caller, does) ? { token: tokenOf(request, `${LIST}/${id}`) } : undefined;
        return granted(event, await requestPage(visitorOf(caller, request), found, form));
      },
    ),
    operatorRoute<AnswerForm>(
      operators,
      {
        does: {
          among: ['approvals.approve', 'approvals.deny', 'approvals.review'],
          of: ({ body }) => ACTION_OF[body.decision],
        },
        ...{ method: 'POST', path: `${LIST}/:id`, action: 'approval.answer', refusal: toConfirm },
        read: formReader(origin, AnswerForm),
      },
      async ({ caller: { attestation }, params: { id = '' }, body, event }) => {
        if (!attestation || !ApprovalId.safeParse(id).success) return refused(event, unknown(id.slice(0, 24)));
        if (body.decision === 'accept' || body.decision === 'object') {
          const { decision, reason } = body;
          const reviewed = { ...event, action: 'approval.review' } as const;
          const done = await approvals.review({ attestation, via: 'page' }, { id, decision, reason }, reviewed);
          return done.granted ? granted(done.event, seeOther(`${LIST}/${id}`)) : done;
        }
        const { decision, reason } = body;
        const wanted = body.decision === 'approve' ? { seconds: body.minutes } : {};
        const order = { id, decision, ...wanted, ...(reason !== undefined && { reason }) };
        const done = await approvals.answer({ attestation, via: 'page' }, order, event);
        return done.granted ? granted(done.event, seeOther(`${LIST}/${id}`)) : done;
      },
    ),
    operatorRoute(
      { authentication: unconfirmedPageAuthentication, confirmations },
      {
        ...{ does: 'operators.logout', method: 'POST', path: '/page/sign-out', action: 'operator.sign-out' },
        ...{ refusal: toSignIn, read: formReader(origin, NoFields) },
      },
      async ({ caller, event }) => {
        const own = sessions.all().filter(({ id }) => id === caller.sessionId);
        const reason = `${nameOf(caller)} signed out.`;
        const done = await closeOperatorSessions(context, own, 'logout', { ...event, reason });
        return done.granted ? granted(done.event, seeOther(SIGN_IN, cookie(SESSION_COOKIE, '', 0))) : done;
      },
    ),
  ];
}

function signInAt(request: string | undefined): string {
  return request === undefined ? SIGN_IN : `${SIGN_IN}?request=${request}`;
}

function pageOf(request: string | undefined): string {
  return request === undefined ? LIST : `${LIST}/${request}`;
}

function visitorOf(caller: OperatorCaller, request: IncomingMessage): Visitor {
  return { name: nameOf(caller), signOut: tokenOf(request, '/page/sign-out') };
}

function tokenOf(request: IncomingMessage, path: string): string {
  return formToken(cookieOf(request, SESSION_COOKIE) ?? '', path);
}

/** @param location a path of this page, or the authorization endpoint of an issuer of the access file */
function seeOther(location: string, ...cookies: readonly string[]): Response {
  const answer = new Response(null, { status: 303, headers: { location, 'cache-control': 'no-store' } });
  for (const one of cookies) answer.headers.append('set-cookie', one);
  return answer;
}
