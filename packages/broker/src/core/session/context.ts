/** The dependencies shared by the code that opens, widens, narrows and ends sessions. */
import type { Authorize } from '@meshpass/access';
import type { Losses } from '../../attest/index.ts';
import type { AuditContext, Journal } from '../../audit/index.ts';
import type { Clock, Random } from '../../base/index.ts';
import type { MeshState } from '../../mesh/index.ts';
import type { CloseCause } from '../../store/index.ts';
import type { DenialPredicate } from './deny/ended.ts';
import type { Feed } from './feed.ts';
import type { Live, LiveIndex } from './live.ts';
import type { Revocations } from './revocations.ts';
import type { GainCause } from './session.ts';
import type { WriteQueue } from './write-queue.ts';

export interface SessionContext {
  readonly live: LiveIndex;
  readonly authorize: Authorize;
  readonly mesh: MeshState;
  readonly losses: Losses;
  readonly audit: AuditContext;
  readonly journal: Journal;
  readonly settling: WriteQueue;
  readonly feed: Feed;
  readonly revocations: Revocations;
  readonly denies: DenialPredicate;
  readonly trustDomain: string;
  /** The lease duration, in seconds. */
  readonly leaseSeconds: number;
  /** The lifetime of identity tokens, in seconds. */
  readonly tokenSeconds: number;
  readonly clock: Clock;
  readonly random: Random;
  readonly onClosed: (cause: CloseCause) => void;
  /** Called once for each grant that a session gains, after the gain has been stored. */
  readonly onGained: (live: Live, cause: GainCause) => void;
  readonly onFailure: (cause: unknown) => void;
}
