/** Leases that edges bring: each is proven by its session's own key, and answered with a statement that no edge can make. */
import type { KeyObject } from 'node:crypto';
import { MeshpassError, toMeshpassError } from '@meshpass/identity';
import {
  type EdgeLease,
  type EdgeLeaseAnswer,
  grantSet,
  type LeaseStatement,
  publicKeyOf,
  type ReadLeaseProof,
  readLeaseProof,
  signStatement,
  verifyJws,
} from '@meshpass/identity/channel/index';
import { type Clock, seconds } from '../clock/clock.ts';
import { equalInConstantTime } from '../secrets/constant-time.ts';
import { type Answers, servicesVersion } from '../session/answers.ts';
import type { Leases } from '../session/leases.ts';
import { type Live, type LiveIndex, sessionClosed } from '../session/live.ts';
import type { Session } from '../session/session.ts';
import { CLOSED_BECAUSE, type CloseCause } from '../store/close-causes.ts';
import { MAX_AHEAD } from '../token/dpop.ts';
import type { Announcements } from './configurations.ts';
import type { StatementKeys } from './statement-key.ts';

export interface RenewalContext {
  readonly live: LiveIndex;
  readonly leases: Leases;
  readonly answers: Answers;
  readonly keys: StatementKeys;
  readonly announcements: Announcements | undefined;
  /** Is told of a session that has had a later version than its configuration has now, with other grants. */
  readonly outran: (session: Session, version: number) => void;
  /** Ids of the keys that identity tokens verify by. */
  readonly tokenKeys: () => readonly string[];
  readonly clock: Clock;
  /** Unix seconds at which this process started: what is older may have been used before. */
  readonly startedAt: number;
}

export interface Renewed {
  /** In the order of the leases. */
  readonly answers: readonly EdgeLeaseAnswer[];
  readonly refusals: readonly { readonly lease: EdgeLease; readonly error: MeshpassError }[];
}

/** What was heard of a session by this way, as long as this process lives. */
interface Heard {
  readonly key: KeyObject;
  seq: number;
}

export function createRenewals(context: RenewalContext): (leases: readonly EdgeLease[]) => Renewed {
  const heard = new WeakMap<Live, Heard>();
  return (leases) => {
    const refusals: { lease: EdgeLease; error: MeshpassError }[] = [];
    const answers = leases.map((lease) => {
      const { session_id } = lease;
      try {
        return { session_id, statement: renew(context, heard, lease) };
      } catch (thrown) {
        const error = toMeshpassError(thrown);
        refusals.push({ lease, error });
        return { session_id, error_code: error.code };
      }
    });
    return { answers, refusals };
  };
}

/** @throws MeshpassError `session_unknown`, `session_closed`, `dpop_*` */
function renew(context: RenewalContext, heard: WeakMap<Live, Heard>, { session_id, proof }: EdgeLease): string {
  const { live, leases, clock, keys } = context;
  const read = readLeaseProof(proof);
  if (!read || read.claims.sid !== session_id) {
    throw new MeshpassError('dpop_malformed', 'The proof of the lease cannot be read, or is of another session.');
  }
  const one = live.byId(session_id);
  if (!one) {
    const over = live.endedById(session_id);
    if (over) {
      // Nothing is signed for who has not proven the session: an edge can ask as often as it likes.
      verifyProof(over, undefined, read);
      return endedStatement(keys, session_id, over.cause);
    }
    throw new MeshpassError('session_unknown', 'The session is unknown; open a new one.');
  }
  const verified = verifyProof(one.session, heard.get(one), read);
  const now = seconds(clock);
  // In whole seconds, as that of DPoP proofs: the second in which the broker started belongs to the process before.
  const saidAt = Math.floor(read.claims.at / 1000);
  assertTimely(saidAt, context, now);
  if (one.session.expiresAt <= now) throw sessionClosed('expired');
  if (one.leaseUntil <= now) throw sessionClosed('lease_lapsed');
  verified.seq = read.claims.seq;
  heard.set(one, verified);
  // From when it was said, not from when it came: an edge that holds it back does not keep a silent session alive.
  leases.renew(one, Math.min(now, saidAt));
  const statement = leaseStatement(context, one, read.claims.seq);
  const version = read.claims.configuration?.version ?? 0;
  if (version > (statement.configuration_version ?? version)) context.outran(one.session, version);
  return signStatement(statement, keys.signing());
}

function verifyProof(
  session: Pick<Session, 'jkt'>,
  before: Heard | undefined,
  { jws, claims, jwk, jkt }: ReadLeaseProof,
): Heard {
  // Before the signature: another key is not worth a verification.
  if (!equalInConstantTime(jkt, session.jkt)) {
    throw new MeshpassError('dpop_key_mismatch', 'The lease was not proven with the key of the session.');
  }
  const key = before?.key ?? publicKeyOf(jwk);
  if (!key) throw new MeshpassError('dpop_malformed', 'The key of the lease is not a point on P-256.');
  if (!verifyJws(jws, key)) throw new MeshpassError('dpop_signature', 'The signature of the lease is invalid.');
  if (before && claims.seq <= before.seq) {
    throw new MeshpassError('dpop_replayed', 'The proof of the lease is not newer than one that came before.');
  }
  return before ?? { key, seq: 0 };
}

/** @param at Unix seconds */
function assertTimely(at: number, { startedAt, answers }: RenewalContext, now: number): void {
  if (at > now + MAX_AHEAD || at < now - answers.config.leaseSeconds) {
    throw new MeshpassError('dpop_expired', 'The proof of the lease is too old or from the future; check the clock.', {
      detail: { at, now },
    });
  }
  if (at <= startedAt) {
    throw new MeshpassError('dpop_expired', 'The lease was proven before the broker started; prove it anew.', {
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
    expires_at: session.expiresAt,
    ...(answers.mesh.inForce() && { services_version: servicesVersion(answers, session) }),
    token_keys: [...tokenKeys()],
    set: grantSet(session.grants.map((grant) => grant.name)),
    ...(configuration && { configuration_version: configuration.version }),
  };
  return statement;
}

/** What is said of a session that is over; the same whenever it is said. */
export function endedStatement(keys: StatementKeys, sid: string, cause: CloseCause): string {
  return signStatement({ kind: 'ended', sid, cause, reason: CLOSED_BECAUSE[cause] }, keys.signing());
}
