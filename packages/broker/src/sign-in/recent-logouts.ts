/** What issuers have said of the end of their own sessions: whom it concerns, and for how long it is remembered. */
import type { SignIn } from '@meshpass/identity';
import type { SignedOut } from '../attest/oidc/logout-token.ts';

/** Somebody who was signed in at an issuer by an ID token of this time. */
export type Signed = Pick<SignIn, 'issuer' | 'subject' | 'sid' | 'confirmedAt'>;

/** Whether a logout is of this person, or of this session of the issuer. */
export function isMeant({ issuer, subject, sid }: SignedOut, signed: Omit<Signed, 'confirmedAt'>): boolean {
  if (signed.issuer !== issuer) return false;
  if (sid !== undefined && signed.sid !== undefined) return sid === signed.sid;
  return subject !== undefined && subject === signed.subject;
}

/**
 * Logouts of the last minutes: an ID token that was made before one of them, and comes after it, brings nobody back. In memory: ID tokens
 * are taken for minutes only, and those of a sign-in that is there are asked for by its own session.
 */
export interface RecentLogouts {
  readonly remember: (out: SignedOut) => void;
  /** The last logout that concerns this ID token. */
  readonly find: (signed: Signed) => SignedOut | undefined;
}

const REMEMBERED = 10_000;
/** ID tokens of operators are no older than ten minutes when they come, and clocks differ. */
const REMEMBERED_SECONDS = 720;

export function createRecentLogouts(clock: () => number): RecentLogouts {
  const recent: SignedOut[] = [];
  const prune = () => {
    const oldest = Math.floor(clock() / 1000) - REMEMBERED_SECONDS;
    while (recent.length > REMEMBERED || (recent[0] && recent[0].at < oldest)) recent.shift();
  };
  return {
    remember: (out) => {
      recent.push(out);
      prune();
    },
    find: (signed) => {
      prune();
      return recent.findLast((out) => isMeant(out, signed) && signed.confirmedAt <= out.at);
    },
  };
}
