/** What a session keeps of sign-ins that their provider has ended: what rests on the same authentication does not bring them back. */
import type { Attestation, EndedSignIn, SignIn } from '@meshpass/identity';
import type { Logout } from './recent-logouts.ts';

/** Of each issuer. */
const MOST_KEPT = 20;

type Ended = Pick<Attestation, 'endedSignIns'>;

/** With one more, which the issuer has reported; each person, and each session of theirs at the issuer, has one of its own. */
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

/** Whether a sign-in rests on what has ended, or cannot show that it does not. */
export function isEnded({ endedSignIns = [] }: Ended, signIn: SignIn): boolean {
  return endedSignIns.some((ended) => ended.issuer === signIn.issuer && isOfEnded(signIn, ended));
}

/**
 * Providers do not take refresh tokens back when somebody signs out (OpenID Connect Back-Channel Logout 1.0 section 2.7): a fresh ID token
 * proves nothing, then. A new sign-in is in another session of the provider, and the person was authenticated after the end of the last.
 * Who names neither cannot show it.
 */
function isOfEnded({ subject, sid, authTime }: SignIn, ended: EndedSignIn): boolean {
  if (subject !== ended.subject) return false;
  if (sid !== undefined && sid === ended.sid) return true;
  const isOther = sid !== undefined && ended.sid !== undefined;
  if (authTime === undefined) return !isOther;
  // Another session may have begun in the second in which the last one ended.
  return isOther ? authTime < ended.signedOutAt : authTime <= ended.signedOutAt;
}
