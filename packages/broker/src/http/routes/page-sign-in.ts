/**
 * How a browser gets, and keeps, a session on the broker's page: it is sent to an issuer, and comes back with the answer. Several
 * sign-ins of one browser may be under way.
 */
import type { IncomingMessage } from 'node:http';
import { ID_TOKEN_TYPE, MeshpassError } from '@meshpass/identity';
import { ApprovalId } from '@meshpass/identity/approval';
import { sha256Hex } from '@meshpass/identity/hash';
import { z } from 'zod';
import type { Approvals } from '../../approval/approvals.ts';
import { granted, type Outcome } from '../../audit/log/decision.ts';
import type { AuditEvent } from '../../audit/log/event.ts';
import { seconds } from '../../clock/clock.ts';
import { groupOf } from '../../limits/source-address.ts';
import { confirmSignIn } from '../../operator/confirm-sign-in.ts';
import { type BrowserSignIn, isOfPage, type Proven, SIGN_IN_SECONDS } from '../../operator/page/browser-sign-in.ts';
import {
  cookie,
  cookieOf,
  MAX_SIGN_INS,
  SESSION_COOKIE,
  signInCookie,
  surplusSignIns,
} from '../../operator/page/cookies.ts';
import { refusalPage, signInPage } from '../../operator/page/html.ts';
import { isUnconfirmed, type OperatorSession } from '../../operator/sessions.ts';
import { signIn } from '../../operator/sign-in.ts';
import { type Call, type Route, route } from '../route.ts';
import { createSlots } from '../slots.ts';
import type { OperatorsContext } from './operators.ts';

export interface PageContext extends OperatorsContext {
  readonly approvals: Approvals;
  readonly browserSignIn: BrowserSignIn;
  /** Where browsers reach it. */
  readonly origin: string;
}

/** Sign-ins that ask an issuer at once, in all and from one source: as many as a browser has under way, whose tabs may fall due together. */
const SIGN_INS = { total: 16, perSource: MAX_SIGN_INS };
/** Where people choose an issuer. */
export const SIGN_IN = '/page/sign-in';
/** Of the requests. */
export const LIST = '/approvals';

const SignInQuery = z.object({ request: ApprovalId.optional().catch(undefined) });

/** A refusal that leads to the sign-in. */
export const toSignIn = (error: MeshpassError, decision: string | undefined) =>
  refusalPage(error, decision, { href: SIGN_IN, text: 'Sign in' });

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
  const toIssuer = async (
    { request, event }: Pick<Call<unknown, unknown>, 'request' | 'event'>,
    issuer: string,
    wanted: string | undefined,
    silent: boolean,
  ) => {
    if (!isOpened(request))
      throw new MeshpassError('request_malformed', 'A sign-in begins where a browser opens a page, not inside of one.');
    const { location, ...begun } = await hold(event.source, () => browserSignIn.begin(issuer, wanted, silent));
    const over = surplusSignIns(request).map((name) => cookie(name, '', 0));
    const kept = cookie(signInCookie(begun.state), begun.cookie, SIGN_IN_SECONDS);
    return granted(event, seeOther(location, ...over, kept));
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
        ...{ ...shared, path, accepts: (request) => mustConfirm(context, request) },
        authentication: ({ event }) => granted(event, undefined),
        handler: async (call) => {
          const { data } = ApprovalId.safeParse(call.params.id);
          const session = sessionOf(context, call.request);
          if (!session) return granted(call.event, seeOther(signInAt(data)));
          return await toIssuer(call, session.issuer, data, true);
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
      handler: async (call) =>
        await toIssuer(call, call.params.issuer ?? '', SignInQuery.parse(call.query).request, false),
    }),
    route({
      ...{ ...shared, path: '/page/callback/:issuer' },
      authentication: operators.strangerAuthentication,
      handler: async ({ params, request, event }) =>
        await hold(event.source, async () => {
          const { search, searchParams } = new URL(request.url ?? '/', context.origin);
          const own = signInCookie(searchParams.get('state') ?? '');
          const kept = cookieOf(request, own);
          const proven = await browserSignIn.finish(params.issuer ?? '', kept, search).catch((thrown: unknown) => {
            // Cookie and query of an answer are easily made up: nobody has the issuer asked without end.
            if (thrown instanceof MeshpassError && thrown.detail.asked === true) operators.failed(event);
            throw thrown;
          });
          const over = cookie(own, '', 0);
          if (proven.silent) return await confirmed(context, proven, over, request, event);
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
            over,
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
  over: string,
  request: IncomingMessage,
  event: AuditEvent,
): Promise<Outcome<Response>> {
  const session = sessionOf(context, request);
  if (idToken === undefined || !session) return granted(event, seeOther(signInAt(wanted), over));
  const { id, subject, login, issuer } = session;
  const unproven = mustConfirm(context, request);
  const known = { ...event, action: 'operator.confirm-sign-in' as const, subject, login, issuer, unproven };
  const asked = { sessionId: id, token: idToken, binding, event: { ...known, detail: { operator_session: id } } };
  const done = await confirmSignIn(context, asked);
  if (done.granted) return granted(done.event, seeOther(pageOf(wanted), over));
  // Another tab has had a later word of the issuer meanwhile, and the session goes on by that.
  const isOvertaken = done.error.code === 'sign_in_stale' && !mustConfirm(context, request);
  return isOvertaken ? granted(event, seeOther(pageOf(wanted), over)) : done;
}

/**
 * Whether it is opened in a tab (Fetch Metadata, where a browser has it), and not only prefetched. Images, frames and speculation rules
 * of a sibling domain's page could begin any number of sign-ins at once, each with its cookie.
 */
function isOpened({ headers }: IncomingMessage): boolean {
  return (headers['sec-fetch-dest'] ?? 'document') === 'document' && headers['sec-purpose'] === undefined;
}

/** Whether the browser has a session whose person the issuer must confirm. */
function mustConfirm(context: PageContext, request: IncomingMessage): boolean {
  const session = sessionOf(context, request);
  try {
    return session !== undefined && isUnconfirmed(session, context.access(), seconds(context.clock));
  } catch {
    // No access file is in force: the page says so.
    return false;
  }
}

/** The session of the page that a browser has, whether it is confirmed or not. */
function sessionOf({ sessions, clock }: PageContext, request: IncomingMessage): OperatorSession | undefined {
  const session = sessions.byToken(sha256Hex(cookieOf(request, SESSION_COOKIE) ?? ''));
  return session && isOfPage(session) && session.expiresAt > seconds(clock) ? session : undefined;
}

function signInAt(request: string | undefined): string {
  return request === undefined ? SIGN_IN : `${SIGN_IN}?request=${request}`;
}

function pageOf(request: string | undefined): string {
  return request === undefined ? LIST : `${LIST}/${request}`;
}

/** @param location a path of this page, or the authorization endpoint of an issuer of the access file */
export function seeOther(location: string, ...cookies: readonly string[]): Response {
  const answer = new Response(null, { status: 303, headers: { location, 'cache-control': 'no-store' } });
  for (const one of cookies) answer.headers.append('set-cookie', one);
  return answer;
}
