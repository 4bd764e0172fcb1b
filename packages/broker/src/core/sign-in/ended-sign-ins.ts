/** Remembers sign-ins that their provider has ended, so that tokens of the same authentication do not restore them. */
import type { Attestation, EndedSignIn, SignIn } from '@meshpass/identity';
import type { Logout } from './recent-logouts.ts';

/** Maximum ended sign-ins remembered per issuer. */
const MOST_KEPT = 20;

type Ended = Pick<Attestation, 'endedSignIns'>;

/** Returns the list with another reported end. There is one entry per person and session at the issuer. */
export function withEnded(
  { endedSignIns = [] }: Ended,
  { issuer, subject, sid }: Pick<SignIn, 'issuer' | 'subject' | 'sid'>,
  { at }: Pick<Logout, 'at'>,
): readonly EndedSignIn[] {
  const isSame = (one: EndedSignIn) => one.issuer === issuer && one.subject === subject && one.sid === sid;
  const signedOutAt = Math.max(at, endedSignIns.find(isSame)?.signedOutAt ?? 0);
  const ended = { issuer, subject, ...(sid !== undefined && { sid }), signedOutAt };
  const ofIssuer = endedSignIns.filter((one) => one.issuer === issuer && !isSame(one));
  return [...endedSignIns.filter((one) => one.issuer !== issuer), ...ofIssuer.slice(1 - MOST_KEPT), ended];
}

/** Whether a sign-in may depend on an authentication that has ended. */
export function isEnded({ endedSignIns = [] }: Ended, signIn: SignIn): boolean {
  return endedSignIns.some((ended) => ended.issuer === signIn.issuer && isOfEnded(signIn, ended));
}

/**
 * Whether a sign-in may depend on this ended one. Providers do not revoke refresh tokens at logout (OpenID Connect
 * Back-Channel Logout 1.0 section 2.7), so a fresh ID token proves nothing. A new sign-in has a different session at
 * the provider, and an authentication time after the end of the last one. A token without either claim cannot prove
 * that it is new.
 */
function isOfEnded({ subject, sid, authTime }: SignIn, ended: EndedSignIn): boolean {
  if (subject !== ended.subject) return false;
  if (sid !== undefined && sid === ended.sid) return true;
  const isOther = sid !== undefined && ended.sid !== undefined;
  if (authTime === undefined) return !isOther;
  // Another session may have begun in the second in which the last one ended.
  return isOther ? authTime < ended.signedOutAt : authTime <= ended.signedOutAt;
}
