/**
 * Handles the cookies of the broker's page. Browsers accept cookies with the `__Host-` prefix only from this host, over
 * a secure connection and for all paths (RFC 6265bis section 4.1.3.2), so neither a sibling domain nor a plain HTTP
 * response can set them.
 */
import { createHash, createHmac } from 'node:crypto';
import type { IncomingMessage } from 'node:http';
import { sha256Hex } from '@meshpass/identity';
import { parse, serialize } from 'hono/utils/cookie';

/** The name of the operator session cookie. */
export const SESSION_COOKIE = '__Host-meshpass-operator';
/**
 * The prefix for the cookies of pending sign-ins. Each sign-in has its own cookie, so that tabs do not overwrite each
 * other's.
 */
const SIGN_IN_COOKIE = '__Host-meshpass-sign-in-';
const OF_SIGN_IN = /^__Host-meshpass-sign-in-[A-Za-z0-9_-]{22}$/;
/**
 * The maximum number of pending sign-ins per browser. Their cookies add less than 2 KiB to the headers of each request.
 */
export const MAX_SIGN_INS = 8;

/**
 * Returns the name of a sign-in's cookie.
 * @param state the `state` of the sign-in, which is untrusted if it comes from a response
 */
export function signInCookie(state: string): string {
  return SIGN_IN_COOKIE + createHash('sha256').update(state).digest('base64url').slice(0, 22);
}

/**
 * Returns the sign-in cookies to delete before this browser receives another one. The oldest are deleted, because if
 * new ones were rejected instead, another site could lock a person out by starting a few sign-ins. Browsers send the
 * oldest cookies first (RFC 6265 section 5.4).
 */
export function surplusSignInCookies({ headers: { cookie } }: IncomingMessage): string[] {
  const names = Object.keys(parse(cookie ?? '')).filter((name) => OF_SIGN_IN.test(name));
  return names.slice(0, Math.max(0, names.length + 1 - MAX_SIGN_INS));
}

/** Returns the SHA-256 hash of the request's session cookie in hex, or undefined if there is no such cookie. */
export function sessionHash(request: IncomingMessage): string | undefined {
  const value = readCookie(request, SESSION_COOKIE);
  return value === undefined ? undefined : sha256Hex(value);
}

/** Returns the value of the request's cookie with the given name. */
export function readCookie({ headers: { cookie } }: IncomingMessage, name: string): string | undefined {
  return cookie === undefined ? undefined : parse(cookie, name)[name];
}

/**
 * Serializes a `set-cookie` header. `Lax` means that the browser sends the cookie when a person follows a link from
 * another site, but not when another site submits a form.
 * @param seconds how long the browser keeps the cookie; 0 deletes it
 */
export function serializeCookie(name: string, value: string, seconds: number): string {
  return serialize(name, value, { httpOnly: true, secure: true, sameSite: 'Lax', path: '/', maxAge: seconds });
}

/**
 * Derives the CSRF token for a form in this session. It is valid for a single path, so a leaked token is useless for
 * any other form.
 */
export function csrfToken(session: string, path: string): string {
  return createHmac('sha256', session).update(`meshpass form ${path}`).digest('base64url');
}
