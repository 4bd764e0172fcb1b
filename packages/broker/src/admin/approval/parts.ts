/** Dependencies of approvals, and state that the files in this folder share. */
import type { Authorize } from '@meshpass/access';
import type { Attestation } from '@meshpass/identity';
import type { Losses, ReadGithub } from '../../attest/index.ts';
import type { AuditContext } from '../../audit/index.ts';
import type { Clock, DeliveryOutcome, Random } from '../../base/index.ts';
import type { GainRequest, Live, LiveIndex } from '../../core/index.ts';
import type { MeshState } from '../../mesh/index.ts';
import type { Store } from '../../store/index.ts';
import type { ApprovalRegistry } from './approval-registry.ts';
import type { WebhookKeys } from './webhook/keys.ts';

export interface ApprovalsContext {
  readonly audit: AuditContext;
  readonly clock: Clock;
  readonly random: Random;
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
   * Adds a grant to a live session until `gift.until`, or until the access file ends it earlier; see `gain` in
   * core/session/widen.ts.
   */
  readonly give: (live: Live, grant: string, gift: GainRequest) => Promise<void>;
  /** Removes the grant immediately, unless the access file now allows it without an approval. */
  readonly take: (live: Live, grant: string, reason: string) => Promise<void>;
  /** Sends messages to webhooks. */
  readonly fetch: typeof fetch;
  /** Called with the outcome of each attempt to send messages, and their number. */
  readonly onTried: (webhook: string, outcome: DeliveryOutcome, messages: number) => void;
  readonly onFailure: (cause: unknown) => void;
}

/** A person who answers or reviews a request. */
export interface Approver {
  readonly attestation: Attestation;
  /** Channel of the answer: `workspace`, `operator`, `page`, `webhook NAME`. */
  readonly via: string;
}

/** Dependencies that the code in this folder shares. */
export interface ApprovalParts extends ApprovalsContext {
  readonly book: ApprovalRegistry;
  /** Runs emergency actions one at a time. */
  readonly inTurn: <T>(act: () => Promise<T>) => Promise<T>;
}
