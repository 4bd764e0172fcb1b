/** Dependencies of approvals, and state that their parts share. */
import type { Authorize } from '@meshpass/access';
import type { Attestation } from '@meshpass/identity';
import type { Losses, ReadGithub } from '../../attest/index.ts';
import type { Outcome } from '../../audit/index.ts';
import type { GainRequest, Live, LiveIndex } from '../../core/index.ts';
import type { MeshState } from '../../mesh/index.ts';
import type { Store } from '../../store/index.ts';
import type { ApprovalRegistry, ApprovalRegistryContext } from './book.ts';
import type { WebhookKeys } from './webhook/keys.ts';

export interface ApprovalsContext extends Omit<ApprovalRegistryContext, 'tell'> {
  /** Webhook secrets. */
  readonly keys: WebhookKeys;
  readonly store: Store;
  readonly live: LiveIndex;
  readonly mesh: MeshState;
  readonly authorize: Authorize;
  readonly losses: Losses;
  /** Absent if GitHub cannot be queried, in which case no team can approve. */
  readonly read?: ReadGithub | undefined;
  /**
   * Adds a grant to a live session until `gift.until`, or until an earlier end in the access file: `gain` in
   * core/session/widen.ts.
   */
  readonly give: (live: Live, grant: string, gift: GainRequest) => Promise<Outcome<unknown>>;
  /** Removes the grant immediately, unless the access file now includes it without an approval. */
  readonly take: (live: Live, grant: string, reason: string) => Promise<void>;
  readonly onFailure: (cause: unknown) => void;
}

/** Person who answers or reviews. */
export interface Approver {
  readonly attestation: Attestation;
  /** Channel of the answer: `workspace`, `operator`, `page`, `webhook NAME`. */
  readonly via: string;
}

/** Dependencies shared by the code in this folder. */
export interface ApprovalParts extends ApprovalsContext {
  readonly book: ApprovalRegistry;
  /** Runs emergency actions one at a time. */
  readonly inTurn: <T>(act: () => Promise<T>) => Promise<T>;
}
