/** Defines the dependencies of approvals and the state shared by the files in this folder. */
import type { Authorize } from '@meshpass/access';
import type { Attestation } from '@meshpass/identity';
import type { ReadGithub } from '../../attest/index.ts';
import type { AuditContext } from '../../audit/index.ts';
import type { Clock, DeliveryOutcome, Random } from '../../base/index.ts';
import type { Sessions } from '../../core/index.ts';
import type { MeshState } from '../../mesh/index.ts';
import type { Store } from '../../store/index.ts';
import type { ApprovalRegistry } from './approval-registry.ts';
import type { WebhookKeys } from './webhook/keys.ts';

/** The dependencies of approvals. An approved grant is added to and removed from a session like any other grant. */
export interface ApprovalsContext extends Pick<Sessions, 'live' | 'losses' | 'give' | 'take'> {
  readonly audit: AuditContext;
  readonly clock: Clock;
  readonly random: Random;
  /** The secrets shared with webhooks. */
  readonly keys: WebhookKeys;
  readonly store: Store;
  readonly mesh: MeshState;
  readonly authorize: Authorize;
  /** Queries GitHub. Absent if the broker has no access to GitHub, in which case teams cannot approve requests. */
  readonly read?: ReadGithub | undefined;
  /** The fetch function used to send messages to webhooks. */
  readonly fetch: typeof fetch;
  /** Called after each attempt to deliver messages, with the outcome and the number of messages. */
  readonly onTried: (webhook: string, outcome: DeliveryOutcome, messages: number) => void;
  readonly onFailure: (cause: unknown) => void;
}

/** A person who answers or reviews a request. */
export interface Approver {
  readonly attestation: Attestation;
  /** How the answer was submitted: `workspace`, `operator`, `page` or `webhook NAME`. */
  readonly via: string;
}

/** The dependencies of approvals, plus the state shared by the files in this folder. */
export interface ApprovalParts extends ApprovalsContext {
  readonly book: ApprovalRegistry;
  /** Runs emergency actions one at a time. */
  readonly inTurn: <T>(act: () => Promise<T>) => Promise<T>;
}
