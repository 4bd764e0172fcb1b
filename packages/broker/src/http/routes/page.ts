/** The broker's page: people read and answer requests for approval in a browser. docs/access/page.md is its prose. */
import type { IncomingMessage } from 'node:http';
import { ID_TOKEN_TYPE, type MeshpassError } from '@meshpass/identity';
import { ApprovalId, ApprovalSeconds } from '@meshpass/identity/approval';
import { z } from 'zod';
import type { Approvals } from '../../approval/approvals.ts';
import { unknown } from '../../approval/refusals.ts';
import { granted, refused } from '../../audit/log/decision.ts';
import { seconds } from '../../clock/clock.ts';
import { groupOf } from '../../limits/source-address.ts';
import { nameOf, type OperatorCaller } from '../../operator/caller.ts';
import { type BrowserSignIn, SIGN_IN_SECONDS } from '../../operator/page/browser-sign-in.ts';
import { cookie, cookieOf, formToken, SESSION_COOKIE, SIGN_IN_COOKIE } from '../../operator/page/cookies.ts';
import { listPage, refusalPage, requestPage, signInPage, type Visitor } from '../../operator/page/html.ts';
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
const toList = (error: MeshpassError, decision: string | undefined) =>
  error.status === 401 ? toSignIn(error, decision) : refusalPage(error, decision, { href: LIST, text: 'All requests' });

/** Pages for whoever is not signed in. */
export function pageSignInRoutes(context: PageContext): readonly Route[] {
  const { browserSignIn, clock, operators } = context;
  const slots = createSlots(SIGN_INS.total, SIGN_INS.perSource);
  const shared = { method: 'GET', action: 'operator.sign-in', refusal: toSignIn } as const;
  const isStranger = (request: IncomingMessage) => cookieOf(request, SESSION_COOKIE) === undefined;
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
          const { success, data } = ApprovalId.safeParse(params.id);
          return granted(event, seeOther(success ? `${SIGN_IN}?request=${data}` : SIGN_IN));
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
          const { idToken, binding, request: wanted } = await browserSignIn.finish(params.issuer ?? '', kept, search);
          const done = await signIn(context, { token: idToken, tokenType: ID_TOKEN_TYPE, jkt: binding, event });
          if (!done.granted) {
            if (done.error.status < 500) operators.failed(event);
            return done;
          }
          const { session, token } = done.value;
          // A token that the broker has just made: whatever cookie the browser had before is worth nothing for it.
          const next = seeOther(
            wanted === undefined ? LIST : `${LIST}/${wanted}`,
            cookie(SESSION_COOKIE, token, session.expiresAt - seconds(clock)),
            cookie(SIGN_IN_COOKIE, '', 0),
          );
          return granted(done.event, next);
        }),
    }),
  ];
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
        ...{ method: 'POST', path: `${LIST}/:id`, action: 'approval.answer', refusal: toList },
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
