/**
 * Signs browsers in to the broker's page and confirms their sessions, by redirecting to an issuer and handling its
 * callback. A browser may have more than one sign-in in progress.
 */
import type { IncomingMessage } from 'node:http';
import { ID_TOKEN_TYPE, MeshpassError, sha256Hex, sourceGroup } from '@meshpass/identity';
import { ApprovalId } from '@meshpass/identity/approval';
import { z } from 'zod';
import { annotateEvent } from '../../audit/index.ts';
import { toUnixSeconds } from '../../base/index.ts';
import { type Call, createSlots, type Route, route } from '../../http/index.ts';
import { confirmSignIn } from '../operator/confirm-sign-in.ts';
import { type BrowserSignIn, type BrowserSignInResult, SIGN_IN_SECONDS } from '../operator/page/browser-sign-in.ts';
import {
  MAX_SIGN_INS,
  readCookie,
  SESSION_COOKIE,
  serializeCookie,
  sessionHash,
  signInCookie,
  surplusSignInCookies,
} from '../operator/page/cookies.ts';
import { renderRefusalPage, renderSignInPage } from '../operator/page/html.ts';
import { type SignInRequest, signIn } from '../operator/sign-in.ts';
import type { AdminContext } from '../process.ts';

export interface PageContext extends AdminContext {
  readonly browserSignIn: BrowserSignIn;
  /** The origin at which browsers reach the broker's page. */
  readonly origin: string;
}

/**
 * The maximum number of concurrent sign-ins that call an issuer, in total and per source. The limit per source equals
 * the limit per browser, because more than one tab may need confirmation at the same time.
 */
const SIGN_INS = { total: 16, perSource: MAX_SIGN_INS };
/** The path of the page where people choose an issuer. */
export const SIGN_IN_PATH = '/page/sign-in';
/** The path of the page that lists approval requests. */
export const LIST = '/approvals';

const SignInQuery = z.object({ request: ApprovalId.optional().catch(undefined) });

/** Renders a refusal page with a link to sign in. */
export const renderSignInRefusal = (error: MeshpassError, decision: string | undefined) =>
  renderRefusalPage(error, decision, { href: SIGN_IN_PATH, text: 'Sign in' });

/** Returns the routes for browsers that do not have a session. */
export function pageSignInRoutes(context: PageContext): readonly Route[] {
  const { browserSignIn, operators } = context;
  const slots = createSlots(SIGN_INS.total, SIGN_INS.perSource);
  const shared = { action: 'operator.sign-in', authentication: () => undefined, refusal: renderSignInRefusal } as const;
  const hold = async <T>(source: string | undefined, act: () => Promise<T>): Promise<T> => {
    const leave = slots.take(sourceGroup(source ?? 'unknown'));
    return await act().finally(leave);
  };
  const toIssuer = async (
    { request, event }: Pick<Callback, 'request' | 'event'>,
    issuer: string,
    wanted: string | undefined,
    silent: boolean,
  ) => {
    if (!isOpened(request))
      throw new MeshpassError('request_malformed', 'A sign-in must start in a browser tab, not inside another page.');
    const { location, ...begun } = await hold(event.source, () => browserSignIn.begin(issuer, wanted, silent));
    const over = surplusSignInCookies(request).map((name) => serializeCookie(name, '', 0));
    const kept = serializeCookie(signInCookie(begun.state), begun.cookie, SIGN_IN_SECONDS);
    return seeOther(location, ...over, kept);
  };

  const finish = async (issuer: string, { request, event }: Pick<Callback, 'request' | 'event'>) => {
    const { search, searchParams } = new URL(request.url ?? '/', context.origin);
    const own = signInCookie(searchParams.get('state') ?? '');
    const proven = await browserSignIn.finish(issuer, readCookie(request, own), search);
    const over = serializeCookie(own, '', 0);
    return await (proven.silent ? confirmed : signedIn)(context, { ...proven, over, request, event });
  };

  return [
    // Browsers without a session are redirected to the sign-in page. If the session has to be confirmed and the person
    // is still signed in at the issuer, this happens without any interaction.
    ...([`GET ${LIST}`, `GET ${LIST}/:id`] as const).map((at) =>
      route({
        ...shared,
        at,
        accepts: (request) =>
          readCookie(request, SESSION_COOKIE) === undefined || toConfirm(context, request) !== undefined,
        handler: async (call) => {
          const { data } = ApprovalId.safeParse(call.params.id);
          const issuer = toConfirm(context, call.request);
          if (issuer === undefined) return seeOther(signInAt(data));
          return await toIssuer(call, issuer, data, true);
        },
      }),
    ),
    route({
      ...shared,
      at: `GET ${SIGN_IN_PATH}`,
      schema: SignInQuery,
      handler: ({ body }) => renderSignInPage(browserSignIn.issuers(), body.request),
    }),
    route({
      ...shared,
      at: `GET ${SIGN_IN_PATH}/:issuer`,
      schema: SignInQuery,
      handler: async (call) => await toIssuer(call, call.params.issuer ?? '', call.body.request, false),
    }),
    route({
      ...shared,
      at: 'GET /page/callback/:issuer',
      // The cookies and the query of a callback are easy to forge, so the resulting calls to the issuer are limited.
      handler: async (call) =>
        await hold(call.event.source, () =>
          operators.askOutside(call.event, () => finish(call.params.issuer ?? '', call)),
        ),
    }),
  ];
}

/** A response from an issuer that belongs to a sign-in of this browser. */
interface Callback extends BrowserSignInResult, Pick<Call<unknown, unknown>, 'request' | 'event'> {
  /** The header that deletes the cookie of the sign-in. */
  readonly over: string;
}

/** Opens a session with a fresh cookie, which makes any cookie planted in the browser before the sign-in worthless. */
async function signedIn(context: PageContext, callback: Callback): Promise<Response> {
  const { idToken = '', binding, wanted, over, event } = callback;
  const secret = `mpo_${context.random(32).toString('base64url')}`;
  const cookieHash = sha256Hex(secret);
  const asked: SignInRequest = { token: idToken, tokenType: ID_TOKEN_TYPE, jkt: binding, cookieHash, event };
  const { session } = await signIn(context, asked);
  const kept = serializeCookie(SESSION_COOKIE, secret, session.expiresAt - toUnixSeconds(context.clock));
  return seeOther(pageOf(wanted), kept, over);
}

/** Handles an issuer's silent confirmation, which can only extend the session that the browser already has. */
async function confirmed(context: PageContext, callback: Callback): Promise<Response> {
  const { idToken, binding, wanted, over, request, event } = callback;
  const session = sessionOf(context, request);
  if (idToken === undefined || !session) return seeOther(signInAt(wanted), over);
  const { id, subject, login, issuer } = session;
  const { operatorSessions } = context;
  const unproven = operatorSessions.stateOf(session) === 'unconfirmed';
  const detail = { operator_session: id };
  annotateEvent(event, { action: 'operator.confirm-sign-in', subject, login, issuer, unproven, detail });
  try {
    await confirmSignIn(context, { session, token: idToken, binding, event });
  } catch (thrown) {
    // In the meantime, another tab may have extended the session with a later confirmation by the issuer.
    const isStale = thrown instanceof MeshpassError && thrown.code === 'sign_in_stale';
    if (!isStale || operatorSessions.stateOf(operatorSessions.newest(session)) === 'unconfirmed') throw thrown;
  }
  return seeOther(pageOf(wanted), over);
}

/**
 * Whether a tab is opening the page rather than prefetching or embedding it, according to Fetch Metadata if the browser
 * sends it. Without this check, images, frames and speculation rules on a sibling domain could start any number of
 * sign-ins, each with its own cookie.
 */
function isOpened({ headers }: IncomingMessage): boolean {
  return (headers['sec-fetch-dest'] ?? 'document') === 'document' && headers['sec-purpose'] === undefined;
}

/** Returns the issuer that has to confirm the browser's session, or undefined if no confirmation is needed. */
function toConfirm(context: PageContext, request: IncomingMessage): string | undefined {
  const session = sessionOf(context, request);
  return session && context.operatorSessions.stateOf(session) === 'unconfirmed' ? session.issuer : undefined;
}

/** Returns the browser's session, whether or not it is confirmed. */
function sessionOf({ operatorSessions }: PageContext, request: IncomingMessage) {
  const session = operatorSessions.byCookie(sessionHash(request));
  return session && operatorSessions.stateOf(session) !== 'ended' ? session : undefined;
}

function signInAt(request: string | undefined): string {
  return request === undefined ? SIGN_IN_PATH : `${SIGN_IN_PATH}?request=${request}`;
}

function pageOf(request: string | undefined): string {
  return request === undefined ? LIST : `${LIST}/${request}`;
}

/**
 * Creates a 303 redirect that sets the given cookies.
 * @param location a path on this page, or the authorization endpoint of an issuer in the access file
 */
export function seeOther(location: string, ...cookies: readonly string[]): Response {
  const answer = new Response(null, { status: 303, headers: { location, 'cache-control': 'no-store' } });
  for (const one of cookies) answer.headers.append('set-cookie', one);
  return answer;
}
