/** The broker's end of the control channel: leases that edges bring, and its own word to agents that edges carry. */
import type { EdgeLease, EdgeLeaseAnswer } from '@meshpass/identity/channel/index';
import type { AuditContext } from '../audit/log/decision.ts';
import { recordRefusal, refused } from '../audit/log/decision.ts';
import { newEvent } from '../audit/log/event.ts';
import type { Clock, Random } from '../clock/clock.ts';
import type { Answers } from '../session/answers.ts';
import type { Announcer } from '../session/feed.ts';
import type { Leases } from '../session/leases.ts';
import { sessionMembers } from '../session/lifecycle.ts';
import type { LiveIndex } from '../session/live.ts';
import { keysOf } from '../token/key-ring.ts';
import type { RotatingSigner } from '../token/signer.ts';
import { type ConfigurationSource, createAnnouncements } from './configurations.ts';
import { createRenewals, endedStatement } from './renew-leases.ts';
import { createStatementKeys, type StatementKeys } from './statement-key.ts';

export interface ControlChannel {
  readonly keys: StatementKeys;
  /**
   * Renews what is proven, and answers in the same order. What is refused is in the audit log before the answer.
   * @param source of the edge
   * @throws MeshpassError `store_unavailable`, `overloaded`
   */
  readonly renew: (leases: readonly EdgeLease[], source: string | undefined) => Promise<readonly EdgeLeaseAnswer[]>;
  /** The bytes of a configuration that was announced; undefined for any other. */
  readonly configuration: (set: string, digest: string) => Buffer | undefined;
  readonly announcer: Announcer;
}

export interface ControlContext {
  readonly live: LiveIndex;
  readonly leases: Leases;
  readonly audit: AuditContext;
  readonly answers: Answers;
  readonly signer: RotatingSigner;
  readonly clock: Clock;
  readonly random: Random;
  /** Unix seconds at which this process started. */
  readonly startedAt: number;
  readonly source: ConfigurationSource | undefined;
  readonly onFailure: (cause: unknown) => void;
}

export function createControlChannel(context: ControlContext): ControlChannel {
  const { live, signer, audit, clock, random, source, onFailure } = context;
  const keys = createStatementKeys(signer);
  const announcements = source && createAnnouncements(source, keys);
  const renewals = createRenewals({
    ...{ ...context, keys, announcements },
    outran: (session, version) => void source?.above(session, version).catch(onFailure),
    tokenKeys: () => keysOf(signer.ring).map(({ kid }) => kid),
  });
  return {
    keys,
    renew: async (leases, from) => {
      const { answers, refusals } = renewals(leases);
      // An edge brings them, and can make them: they are metered, and written together, so that nobody's lease waits for each of them.
      const write = ({ lease, error }: (typeof refusals)[number]) => {
        const session = live.byId(lease.session_id)?.session;
        const event = {
          ...newEvent('session.heartbeat', { source: from }, clock, random),
          ...(session ? sessionMembers(session) : { sessionId: lease.session_id }),
        };
        return recordRefusal(audit, refused(event, error), true);
      };
      await Promise.all(refusals.map(write));
      return answers;
    },
    configuration: (set, digest) => announcements?.content(set, digest),
    announcer: {
      ended: (id, cause) => endedStatement(keys, id, cause),
      configuration: (session) => announcements?.of(session),
      onConfiguration: (listener) => source?.onChange(listener) ?? (() => {}),
    },
  };
}
