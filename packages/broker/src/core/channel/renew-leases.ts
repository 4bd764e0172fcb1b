/**
 * Renews leases, which agents send directly or through edges. The session's own key proves each lease, and the answer
 * is a statement that no edge can forge.
 */
import type { KeyObject } from 'node:crypto';
import { MeshpassError } from '@meshpass/identity';
import {
  grantSet,
  type LeaseStatement,
  type ProvenLease,
  publicKeyOf,
  type ReadLeaseProof,
  readLeaseProof,
  signStatement,
  verifyJws,
} from '@meshpass/identity/channel/index';
import { type Clock, equalInConstantTime, seconds } from '../../base/index.ts';
import { CLOSED_BECAUSE, type CloseCause } from '../../store/index.ts';
import { type Answers, servicesVersion } from '../session/answers.ts';
import type { RenewLease } from '../session/leases.ts';
import { type Live, type LiveIndex, sessionClosed } from '../session/live.ts';
import { expiryOf, grantsOf, type Session } from '../session/session.ts';
import { MAX_AHEAD } from '../token/dpop.ts';
import type { Announcements } from './configurations.ts';
import type { StatementKeys } from './statement-key.ts';

export interface RenewalContext {
  readonly live: LiveIndex;
  readonly renewLease: RenewLease;
  readonly answers: Pick<Answers, 'config' | 'mesh'>;
  readonly keys: StatementKeys;
  readonly announcements: Announcements | undefined;
  /** Ids of the keys that verify identity tokens. */
  readonly tokenKeys: () => readonly string[];
  readonly clock: Clock;
  /** Start of this process, Unix seconds. An older proof may have been used before. */
  readonly startedAt: number;
}

/** A session's last proof in this process. */
interface Heard {
  readonly key: KeyObject;
  seq: number;
}

/**
 * Creates the lease renewal. It counts a session's proofs regardless of the way they arrive.
 * @returns function that renews one lease. Returns the signed statement; throws MeshpassError `session_unknown`,
 *   `session_closed`, `dpop_*`
 */
export function createRenewals(context: RenewalContext): (lease: ProvenLease) => string {
  const heard = new WeakMap<Live, Heard>();
  return (lease) => renew(context, heard, lease);
}

function renew(context: RenewalContext, heard: WeakMap<Live, Heard>, { session_id, proof }: ProvenLease): string {
  const { live, renewLease, clock, keys } = context;
  const read = readLeaseProof(proof);
  if (!read || read.claims.sid !== session_id) {
    throw new MeshpassError('dpop_malformed', 'The lease proof is malformed or belongs to a different session.');
  }
  const now = seconds(clock);
  // Compared in whole seconds, like DPoP proofs: the second in which the broker started belongs to the previous
  // process.
  const saidAt = Math.floor(read.claims.at / 1000);
  const one = live.byId(session_id);
  if (!one) {
    const over = live.endedById(session_id);
    if (over) {
      // Sign nothing without a recent proof by the session, because an edge can repeat the request at will.
      assertTimely(saidAt, context, now);
      verifyProof(over, undefined, read);
      return endedStatement(keys, session_id, over.cause);
    }
    throw new MeshpassError('session_unknown', 'Unknown session. Open a new one.');
  }
  const verified = verifyProof(one.session, heard.get(one), read);
  assertTimely(saidAt, context, now);
  if (expiryOf(one.session) <= now) throw sessionClosed('expired');
  if (one.leaseUntil <= now) throw sessionClosed('lease_lapsed');
  verified.seq = read.claims.seq;
  heard.set(one, verified);
  // The lease starts when it was proven, not when it arrived, so that an edge cannot keep a silent session alive by
  // delaying the proof.
  renewLease(one, Math.min(now, saidAt));
  return signStatement(leaseStatement(context, one, read.claims.seq), keys.signing());
}

function verifyProof(
  session: Pick<Session, 'jkt'>,
  before: Heard | undefined,
  { jws, claims, jwk, jkt }: ReadLeaseProof,
): Heard {
  // Checked before the signature, so that a wrong key costs no verification.
  if (!equalInConstantTime(jkt, session.jkt)) {
    throw new MeshpassError('dpop_key_mismatch', 'The lease proof was not signed with the session key.');
  }
  const key = before?.key ?? publicKeyOf(jwk);
  if (!key) throw new MeshpassError('dpop_malformed', 'The lease proof key is not a point on P-256.');
  if (!verifyJws(jws, key)) throw new MeshpassError('dpop_signature', 'The lease proof has an invalid signature.');
  if (before && claims.seq <= before.seq) {
    throw new MeshpassError('dpop_replayed', 'The lease proof is not newer than the previous one.');
  }
  return before ?? { key, seq: 0 };
}

/**
 * Checks when a proof was made.
 * @param at Unix seconds
 */
function assertTimely(at: number, { startedAt, answers }: RenewalContext, now: number): void {
  if (at > now + MAX_AHEAD || at < now - answers.config.leaseSeconds) {
    throw new MeshpassError('dpop_expired', 'The lease proof is too old or from the future. Check the clock.', {
      detail: { at, now },
    });
  }
  if (at <= startedAt) {
    throw new MeshpassError('dpop_expired', "The lease proof predates the broker's start. Create a new one.", {
      retryAfter: 1,
      detail: { at, startedAt },
    });
  }
}

function leaseStatement({ answers, tokenKeys, announcements, clock }: RenewalContext, one: Live, seq: number) {
  const { session } = one;
  const configuration = announcements?.of(session);
  const statement: LeaseStatement = {
    kind: 'lease',
    sid: session.id,
    seq,
    at: clock(),
    lease_expires_at: one.leaseUntil,
    expires_at: expiryOf(session),
    ...(answers.mesh.inForce() && { services_version: servicesVersion(answers, session) }),
    token_keys: [...tokenKeys()],
    set: grantSet(grantsOf(session)),
    ...(configuration && { configuration_version: configuration.version }),
  };
  return statement;
}

/** Signs the statement that a session has ended. Its content is always the same. */
export function endedStatement(keys: StatementKeys, sid: string, cause: CloseCause): string {
  return signStatement({ kind: 'ended', sid, cause, reason: CLOSED_BECAUSE[cause] }, keys.signing());
}
