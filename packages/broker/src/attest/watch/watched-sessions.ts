/** Live sessions as the GitHub watch reads and ends them. Implemented by core/session/touch.ts. */
import type { Access } from '@meshpass/access';
import type { Attestation } from '@meshpass/identity';
import type { Clock } from '../../base/index.ts';
import type { CloseCause } from '../../store/index.ts';
import type { Fact, Losses } from '../github/losses.ts';

/** A live session. */
export interface WatchedSession {
  readonly session: {
    readonly id: string;
    readonly attestation: Attestation;
    /** Unix seconds. */
    readonly openedAt: number;
  };
  /** Present once the session has ended. */
  readonly ended?: object;
}

/** Live sessions, and what GitHub's answers change about them. */
export interface WatchedSessions {
  readonly live: { readonly all: () => Iterable<WatchedSession>; readonly size: () => number };
  readonly losses: Losses;
  /** Unix milliseconds. */
  readonly clock: Clock;
  readonly mesh: { readonly inForce: () => boolean; readonly access: () => Access };
  /** Receives store failures, after which the change is retried. */
  readonly onFailure: (cause: unknown) => void;
  /**
   * Ends a session, in memory at once.
   * @param detail details for the audit log
   * @returns once the end is stored
   */
  close(
    one: WatchedSession,
    end: { readonly cause: CloseCause; readonly detail: Record<string, unknown> },
  ): Promise<void>;
  /** Removes from a session what it may no longer have after a loss. */
  touch(one: WatchedSession): Promise<void>;
  /** Removes lost teams and roles from a session, along with the grants that depend on them. */
  removeFacts(one: WatchedSession, facts: readonly Fact[]): Promise<void>;
}
