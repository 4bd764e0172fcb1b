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
  readLeaseProof,
  signStatement,
} from '@meshpass/identity/channel/index';
import { type Clock, seconds } from '../../base/index.ts';
import { CLOSED_BECAUSE, type CloseCause } from '../../store/index.ts';
import { type Answers, servicesVersion } from '../session/answers.ts';
import type { RenewLease } from '../session/leases.ts';
import { type Live, type LiveIndex, refuseOver } from '../session/live.ts';
import { expiryOf, grantsOf } from '../session/session.ts';
import { assertTimely, verifyKey } from '../token/dpop.ts';
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
  readonly seq: number;
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
  const { live, renewLease, clock, keys, answers, startedAt } = context;
  const read = readLeaseProof(proof);
  if (!read || read.claims.sid !== session_id) {
    throw new MeshpassError('dpop_malformed', 'The lease proof is malformed or belongs to a different session.');
  }
  const now = seconds(clock);
  // Compared in whole seconds, like DPoP proofs: the second in which the broker started belongs to the previous
  // process.
  const saidAt = Math.floor(read.claims.at / 1000);
  const one = live.byId(session_id);
  const over = one ? undefined : live.endedById(session_id);
  const jkt = one?.session.jkt ?? over?.jkt;
  if (jkt === undefined) throw new MeshpassError('session_unknown', 'Unknown session. Open a new one.');
  const before = one && heard.get(one);
  // Sign nothing without a recent proof by the session, because an edge can repeat the request at will.
  const key = verifyKey('lease proof', read, jkt, before?.key);
  if (before && read.claims.seq <= before.seq) {
    throw new MeshpassError('dpop_replayed', 'The lease proof is not newer than the previous one.');
  }
  const times = { from: saidAt, made: saidAt, until: saidAt + answers.config.leaseSeconds };
  assertTimely('lease proof', times, { now, startedAt });
  if (!one) return endedStatement(keys, session_id, over!.cause);
  refuseOver(one, now);
  heard.set(one, { key, seq: read.claims.seq });
  // The lease starts when it was proven, not when it arrived, so that an edge cannot keep a silent session alive by
  // delaying the proof.
  renewLease(one, Math.min(now, saidAt));
  return signStatement(leaseStatement(context, one, read.claims.seq), keys.signing());
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
