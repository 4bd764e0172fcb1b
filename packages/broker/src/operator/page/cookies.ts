/**
 * Cookies of the broker's page. `__Host-` (RFC 6265bis section 4.1.3.2): a browser takes them from this host alone, over a secure channel,
 * and for every path; neither a sibling domain nor plain HTTP sets one.
 */
import { createHash, createHmac } from 'node:crypto';
import type { IncomingMessage } from 'node:http';
import { parse, serialize } from 'hono/utils/cookie';

/** The token of the operator's session. */
export const SESSION_COOKIE = '__Host-meshpass-operator';
/** What a sign-in that is under way needs afterwards. Each has its own, so that two tabs do not take each other's. */
const SIGN_IN_COOKIE = '__Host-meshpass-sign-in-';
const OF_SIGN_IN = /^__Host-meshpass-sign-in-[A-Za-z0-9_-]{22}$/;
/** Sign-ins under way at once in one browser: less than 2 KiB of each request's headers. */
export const MAX_SIGN_INS = 8;

/** @param state of the sign-in; in an answer, whatever somebody has written there */
export function signInCookie(state: string): string {
  return SIGN_IN_COOKIE + createHash('sha256').update(state).digest('base64url').slice(0, 22);
}

/**
 * @returns the sign-in cookies that must go before this browser gets one more. The oldest go: if the newest were refused, somebody
 *   else's site could open a few and lock a person out. Browsers send the oldest first (RFC 6265 section 5.4).
 */
export function surplusSignIns({ headers: { cookie } }: IncomingMessage): string[] {
  const names = Object.keys(parse(cookie ?? '')).filter((name) => OF_SIGN_IN.test(name));
  return names.slice(0, Math.max(0, names.length + 1 - MAX_SIGN_INS));
}

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
