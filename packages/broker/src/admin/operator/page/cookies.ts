/**
 * Cookies of the broker's page. Browsers accept cookies with the `__Host-` prefix only from this host, over a secure
 * channel and for all paths (RFC 6265bis section 4.1.3.2), so neither a sibling domain nor plain HTTP can set them.
 */
import { createHash, createHmac } from 'node:crypto';
import type { IncomingMessage } from 'node:http';
import { sha256Hex } from '@meshpass/identity/hash';
import { parse, serialize } from 'hono/utils/cookie';

/** Cookie of the operator session. */
export const SESSION_COOKIE = '__Host-meshpass-operator';
/**
 * Prefix for cookies of pending sign-ins. Each sign-in has its own cookie, so that tabs do not overwrite each other's
 * cookies.
 */
const SIGN_IN_COOKIE = '__Host-meshpass-sign-in-';
const OF_SIGN_IN = /^__Host-meshpass-sign-in-[A-Za-z0-9_-]{22}$/;
/** Maximum pending sign-ins per browser. They add less than 2 KiB to the headers of each request. */
export const MAX_SIGN_INS = 8;

/**
 * Returns a sign-in's cookie name.
 * @param state the sign-in's `state`; untrusted if it comes from a response
 */
export function signInCookie(state: string): string {
  return SIGN_IN_COOKIE + createHash('sha256').update(state).digest('base64url').slice(0, 22);
}

/**
 * Returns the sign-in cookies to delete before this browser receives a new one. The oldest are deleted, because if new
 * ones were rejected, another site could start several sign-ins and lock a person out. Browsers send the oldest first
 * (RFC 6265 section 5.4).
 */
export function surplusSignInCookies({ headers: { cookie } }: IncomingMessage): string[] {
  const names = Object.keys(parse(cookie ?? '')).filter((name) => OF_SIGN_IN.test(name));
  return names.slice(0, Math.max(0, names.length + 1 - MAX_SIGN_INS));
}

/** Returns the SHA-256 hash of a request's session cookie, hex, or undefined if there is no such cookie. */
export function sessionHash(request: IncomingMessage): string | undefined {
  const value = readCookie(request, SESSION_COOKIE);
  return value === undefined ? undefined : sha256Hex(value);
}

/** Returns the value of a request's cookie. */
export function readCookie({ headers: { cookie } }: IncomingMessage, name: string): string | undefined {
  return cookie === undefined ? undefined : parse(cookie, name)[name];
}

/**
 * Serializes a `set-cookie` header. With `Lax`, the browser sends the cookie when a person follows a link from another
 * site, but not when another site submits a form.
 * @param seconds lifetime in the browser; 0 deletes the cookie
 */
export function serializeCookie(name: string, value: string, seconds: number): string {
  return serialize(name, value, { httpOnly: true, secure: true, sameSite: 'Lax', path: '/', maxAge: seconds });
}

/**
 * Derives the CSRF token for a session's form. It is valid for one path only, so that a leaked form is useless
 * elsewhere.
 */
export function csrfToken(session: string, path: string): string {
  return createHmac('sha256', session).update(`meshpass form ${path}`).digest('base64url');
}
