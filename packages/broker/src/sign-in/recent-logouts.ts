/** What issuers have said of the end of their own sessions: whom it concerns, and for how long it is remembered. */
import type { SignIn } from '@meshpass/identity';
import type { SignedOut } from '../attest/oidc/logout-token.ts';
import { type Clock, uuidv7 } from '../clock/clock.ts';
import type { Store } from '../store/open.ts';

/** What an issuer has said, once its token was taken. */
export type Logout = Omit<SignedOut, 'replay'>;

/** Somebody who was signed in at an issuer by an ID token of this time. */
export type Signed = Pick<SignIn, 'issuer' | 'subject' | 'sid' | 'authTime' | 'confirmedAt'>;

/** Whether a logout is of this person, or of this session of the issuer. */
export function isMeant({ issuer, subject, sid }: Logout, signed: Omit<Signed, 'authTime' | 'confirmedAt'>): boolean {
  if (signed.issuer !== issuer) return false;
  if (sid !== undefined && signed.sid !== undefined) return sid === signed.sid;
  return subject !== undefined && subject === signed.subject;
}

/**
 * Logouts of the last minutes: an ID token that was made before one of them, and comes after it, brings nobody back. ID tokens are taken
 * for minutes only, and those of a sign-in that is there are asked for by its own session. A broker that takes over has them from the
 * audit log.
 */
export interface RecentLogouts {
  readonly remember: (out: Logout) => void;
  /** The last logout that concerns this ID token. */
  readonly find: (signed: Signed) => Logout | undefined;
}

const REMEMBERED = 10_000;
/** ID tokens of operators are no older than ten minutes when they come, and clocks differ. */
const REMEMBERED_SECONDS = 720;

/** Between the decision on a logout and what its token says of the time, seconds. */
const CLOCKS_SECONDS = 60;

/** Those of brokers before this one. @throws where the store does not answer */
export async function storedLogouts({ db }: Pick<Store, 'db'>, clock: Clock): Promise<readonly Logout[]> {
  const oldest = clock() - (REMEMBERED_SECONDS + CLOCKS_SECONDS) * 1000;
  const rows = await db
    .selectFrom('audit')
    .select(['issuer', 'subject', 'time', 'detail'])
    // In the order of time, and with an index: the log may be long.
    .where(
      'id',
      '>=',
      uuidv7(() => oldest, Buffer.alloc),
    )
    .where('action', '=', 'sign_in.logout')
    .where('outcome', '=', 'allowed')
    .orderBy('id', 'desc')
    .limit(REMEMBERED)
    .execute();
  return rows.reverse().map(({ issuer, subject, time, detail }) => {
    const { sid, signed_out_at } = JSON.parse(detail ?? '{}') as { sid?: string; signed_out_at?: number };
    const at = signed_out_at ?? Math.floor(time.getTime() / 1000);
    return { issuer: issuer!, at, ...(subject !== null && { subject }), ...(sid !== undefined && { sid }) };
  });
}

export function createRecentLogouts(clock: Clock, before: readonly Logout[] = []): RecentLogouts {
  const recent = [...before];
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
      return recent.findLast((out) => isMeant(out, signed) && isBefore(signed, out));
    },
  };
}

/** A younger ID token may be one that a refresh token brought: that shows the session or the authentication of before. */
function isBefore({ confirmedAt, authTime, sid }: Signed, out: Logout): boolean {
  const isSame = sid !== undefined && sid === out.sid;
  return isSame || confirmedAt <= out.at || (authTime !== undefined && authTime <= out.at);
}
