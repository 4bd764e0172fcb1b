/**
 * Cookies of the broker's page. `__Host-` (RFC 6265bis section 4.1.3.2): a browser takes them from this host alone, over a secure channel,
 * and for every path; neither a sibling domain nor plain HTTP sets one.
 */
import { createHmac } from 'node:crypto';
import type { IncomingMessage } from 'node:http';
import { parse, serialize } from 'hono/utils/cookie';

/** The token of the operator's session. */
export const SESSION_COOKIE = '__Host-meshpass-operator';
/** What a sign-in that is under way needs afterwards. */
export const SIGN_IN_COOKIE = '__Host-meshpass-sign-in';

export function cookieOf({ headers: { cookie } }: IncomingMessage, name: string): string | undefined {
  return cookie === undefined ? undefined : parse(cookie, name)[name];
}

/**
 * @param seconds how long the browser keeps it; 0 takes it away
 * @returns a `set-cookie` header. `Lax`: other sites can lead to a page with it, and send no form with it.
 */
export function cookie(name: string, value: string, seconds: number): string {
  return serialize(name, value, { httpOnly: true, secure: true, sameSite: 'Lax', path: '/', maxAge: seconds });
}

/** What a form of this session must hold: for one path, so that a form that leaks is of use for nothing else. */
export function formToken(sessionToken: string, path: string): string {
  return createHmac('sha256', sessionToken).update(`meshpass form ${path}`).digest('base64url');
}
