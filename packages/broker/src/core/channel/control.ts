/** The control channel, which verifies lease proofs from sessions and signs the broker's statements to their agents. */
import type { KeyObject } from 'node:crypto';
import { MeshpassError, toMeshpassError } from '@meshpass/identity';
import {
  grantSet,
  type LeaseAnswer,
  type LeaseRenewal,
  type LeaseStatement,
  parseLeaseProof,
  signStatement,
} from '@meshpass/identity/channel';
import {
  type AuditContext,
  type AuditEvent,
  annotateEvent,
  createAuditEvent,
  recordRefusal,
} from '../../audit/index.ts';
import { type Clock, type Random, toUnixSeconds } from '../../base/index.ts';
import type { MeshState } from '../../mesh/index.ts';
import { CLOSE_EXPLANATIONS, type CloseCause } from '../../store/index.ts';
import { type Live, type LiveIndex, requireLiveSession, sessionMembers } from '../session/live.ts';
import { grantsOf, type Session, servicesVersion, sessionExpiry } from '../session/session.ts';
import { publishedKeys } from '../token/key-ring.ts';
import type { RotatingSigner } from '../token/signer.ts';
import { assertTimely, verifyProofSignature } from '../token/verify-dpop.ts';
import { type Announcement, type ConfigurationSource, createAnnouncements } from './configurations.ts';
import { createStatementKeys } from './statement-key.ts';

export type ControlChannel = ReturnType<typeof createControlChannel>;

export interface ControlContext {
  readonly live: LiveIndex;
  /** The function that createLeases() returns. */
  readonly renewLease: (live: Live, saidAt: number) => void;
  readonly config: { readonly leaseSeconds: number };
  readonly mesh: MeshState;
  readonly audit: AuditContext;
  readonly signer: RotatingSigner;
  readonly clock: Clock;
  readonly random: Random;
  /** When this process started, in Unix seconds. Proofs that were created earlier may already have been used. */
  readonly startedAt: number;
  readonly source: ConfigurationSource | undefined;
}

/** Creates the control channel. */
export function createControlChannel(context: ControlContext) {
  const { live, mesh, signer, audit, clock, random, source } = context;
  const keys = createStatementKeys(signer);
  const announcements = source && createAnnouncements(source, keys);
  /** The last proof that this process received for each session, either directly or through an edge. */
  const heard = new WeakMap<Live, { readonly key: KeyObject; readonly seq: number }>();

  const leaseStatement = (one: Live, seq: number): LeaseStatement => {
    const { session } = one;
    const configuration = announcements?.of(session);
    return {
      kind: 'lease',
      sid: session.id,
      seq,
      at: clock(),
      lease_expires_at: one.leaseUntil,
      expires_at: sessionExpiry(session),
      ...(mesh.inForce() && { services_version: servicesVersion(mesh, session) }),
      token_keys: publishedKeys(signer.ring).map(({ kid }) => kid),
      set: grantSet(grantsOf(session)),
      ...(configuration && { configuration_version: configuration.version }),
    };
  };

  /** Returns a signed statement that a session has ended. Its content depends only on the session and the cause. */
  const ended = (sid: string, cause: CloseCause): string =>
    signStatement({ kind: 'ended', sid, cause, reason: CLOSE_EXPLANATIONS[cause] }, keys.signing());

  /**
   * Renews a lease. The agent's request may arrive directly or through an edge. It is authenticated with the session's
   * own key, and the response is a statement that edges cannot forge: either the lease was renewed, or the session has
   * ended.
   * @param event the audit event, to which the session's identity is added
   * @throws MeshpassError `session_unknown`, `session_closed`, `dpop_*`
   */
  const renewOne = ({ session_id, proof }: LeaseRenewal, event: AuditEvent): string => {
    const one = live.byId(session_id);
    const over = live.ended(session_id);
    const known = one?.session ?? over;
    // Anyone can send a proof, so refusals are rate-limited as if the client were unknown.
    annotateEvent(event, { ...(known ? sessionMembers(known) : { sessionId: session_id }), unproven: true });
    const read = parseLeaseProof(proof);
    if (!read || read.claims.sid !== session_id)
      throw new MeshpassError('dpop_malformed', 'The lease proof is malformed or belongs to a different session.');
    const now = toUnixSeconds(clock);
    // Times are compared in whole seconds, just like those of DPoP proofs. The second in which this process started
    // counts as part of the previous process's lifetime.
    const saidAt = Math.floor(read.claims.at / 1000);
    if (!known) throw new MeshpassError('session_unknown', 'Unknown session. Open a new one.');
    const before = one && heard.get(one);
    // Never sign anything without a recent proof from the session, because an edge can replay requests at will.
    const key = verifyProofSignature('lease proof', read, known.jkt, before?.key);
    if (before && read.claims.seq <= before.seq)
      throw new MeshpassError('dpop_replayed', 'The lease proof is not newer than the previous one.');
    const times = { from: saidAt, made: saidAt, until: saidAt + context.config.leaseSeconds };
    assertTimely('lease proof', times, { now, startedAt: context.startedAt });
    if (!one) return ended(session_id, over!.cause);
    requireLiveSession(one, now);
    heard.set(one, { key, seq: read.claims.seq });
    // The lease starts when the proof was created, not when it arrived. Otherwise, an edge could keep a silent session
    // alive by delaying its proofs.
    context.renewLease(one, Math.min(now, saidAt));
    return signStatement(leaseStatement(one, read.claims.seq), keys.signing());
  };

  return {
    keys,
    renewOne,
    /**
     * Renews the leases that an edge forwards. A refused lease does not affect the others. Refusals are written to the
     * audit log before the broker responds. If a refusal cannot be recorded, the answer for that lease is
     * `store_unavailable` or `overloaded`.
     * @param from the address of the edge
     * @returns the answers, in the same order as the leases
     */
    renew: async (leases: readonly LeaseRenewal[], from: string | undefined) =>
      // Record refusals in parallel, so that a batch takes no longer than its slowest write.
      await Promise.all(
        leases.map(async (lease): Promise<LeaseAnswer> => {
          const { session_id } = lease;
          const event = createAuditEvent('session.heartbeat', { source: from }, clock, random);
          try {
            return { session_id, statement: renewOne(lease, event) };
          } catch (thrown) {
            const error = toMeshpassError(thrown);
            const code = await recordRefusal(audit, event, error).then(
              () => error.code,
              (failed: unknown) => toMeshpassError(failed).code,
            );
            return { session_id, error_code: code };
          }
        }),
      ),
    /** Returns a session's configuration with its signed header, or undefined if there is no configuration yet. */
    announced: (session: Session): Announcement | undefined => announcements?.of(session),
    /** Returns the bytes of an announced configuration, or undefined if no such configuration was announced. */
    configuration: (set: string, digest: string) => announcements?.content(set, digest),
    ended,
    /**
     * Registers a listener that is called when any configuration changes.
     * @returns a function that removes the listener
     */
    onConfiguration: (listener: () => void) => source?.onChange(listener) ?? (() => {}),
  };
}
