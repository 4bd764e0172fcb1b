/** Leases and configurations: lease proofs from sessions, and the broker's signed statements to their agents. */
import { toMeshpassError } from '@meshpass/identity';
import type { LeaseAnswer, ProvenLease } from '@meshpass/identity/channel/index';
import {
  type AuditContext,
  type AuditEvent,
  granted,
  newEvent,
  type Outcome,
  recordRefusal,
  refused,
} from '../../audit/index.ts';
import type { Random } from '../../base/index.ts';
import type { CloseCause } from '../../store/index.ts';
import { sessionMembers } from '../session/live.ts';
import type { Session } from '../session/session.ts';
import { keysOf } from '../token/key-ring.ts';
import type { RotatingSigner } from '../token/signer.ts';
import { type Announcement, type ConfigurationSource, createAnnouncements } from './configurations.ts';
import { createRenewals, endedStatement, type RenewalContext } from './renew-leases.ts';
import { createStatementKeys } from './statement-key.ts';

export type ControlChannel = ReturnType<typeof createControlChannel>;

export interface ControlContext extends Omit<RenewalContext, 'keys' | 'announcements' | 'tokenKeys'> {
  readonly audit: AuditContext;
  readonly signer: RotatingSigner;
  readonly random: Random;
  readonly source: ConfigurationSource | undefined;
}

/** Creates the channel. */
export function createControlChannel(context: ControlContext) {
  const { live, signer, audit, clock, random, source } = context;
  const keys = createStatementKeys(signer);
  const announcements = source && createAnnouncements(source, keys);
  const tokenKeys = () => keysOf(signer.ring).map(({ kid }) => kid);
  const renewal = createRenewals({ ...context, keys, announcements, tokenKeys });
  const renewOne = (lease: ProvenLease, event: AuditEvent): Outcome<string> => {
    try {
      return granted(event, renewal(lease));
    } catch (thrown) {
      const session = live.byId(lease.session_id)?.session;
      // Anyone can send a proof, so refusals are rate-limited like those of unknown clients.
      const members = session ? sessionMembers(session) : { sessionId: lease.session_id };
      return refused({ ...event, ...members, unproven: true }, thrown);
    }
  };
  return {
    keys,
    /**
     * Renews a proven lease.
     * @param event audit event, which a refusal returns with the session's identity
     * @returns the signed statement: the lease, or the session's end
     */
    renewOne,
    /**
     * Renews the proven leases that an edge forwards. A refused lease does not affect the others. Refusals are in the
     * audit log before the response; if a refusal cannot be recorded, the answer is `store_unavailable` or `overloaded`.
     * @param source address of the edge
     * @returns answers in the order of the leases
     */
    renew: async (leases: readonly ProvenLease[], from: string | undefined) => {
      const outcomes = leases.map((lease) =>
        renewOne(lease, newEvent('session.heartbeat', { source: from }, clock, random)),
      );
      // Written together, so that no lease waits for the others one by one.
      return await Promise.all(
        outcomes.map(async (outcome, at): Promise<LeaseAnswer> => {
          const { session_id } = leases[at]!;
          if (outcome.granted) return { session_id, statement: outcome.value };
          try {
            await recordRefusal(audit, outcome);
            return { session_id, error_code: outcome.error.code };
          } catch (thrown) {
            return { session_id, error_code: toMeshpassError(thrown).code };
          }
        }),
      );
    },
    /** Returns a session's configuration with its signed header; undefined if there is none yet. */
    announced: (session: Session): Announcement | undefined => announcements?.of(session),
    /** Returns the bytes of an announced configuration; undefined if this one was not announced. */
    configuration: (set: string, digest: string) => announcements?.content(set, digest),
    /** Returns the signed statement that a session has ended. */
    ended: (id: string, cause: CloseCause) => endedStatement(keys, id, cause),
    /**
     * Registers a listener for changes of any configuration.
     * @returns a function that unsubscribes it
     */
    onConfiguration: (listener: () => void) => source?.onChange(listener) ?? (() => {}),
  };
}
