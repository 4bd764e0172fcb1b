/** The process that operators run, as seen by operators, approvals and policy changes. */
import type { Authorize } from '@meshpass/access';
import type { ReadGithub } from '../attest/index.ts';
import type { Process } from '../base/index.ts';
import type { RotatingSigner } from '../core/index.ts';
import type { MeshState, PolicyDecisions, PolicyMesh } from '../mesh/index.ts';
import type { OperatorProofs } from './operator/sign-in.ts';
import type { AuthorOf } from './policy/author.ts';

/** Dependencies of operators, approvals and policy changes that an installation provides. */
export interface AdminParts {
  readonly authorize: Authorize;
  readonly mesh: MeshState;
  readonly signer: RotatingSigner;
  /** GitHub access for approvers' memberships; absent if no team can approve. */
  readonly github?: { readonly read: ReadGithub };
  /** Verifies operators' proofs; absent if operators cannot sign in. */
  readonly operators?: OperatorProofs;
  /** Target of access file plans; absent if the access file is the one on disk. */
  readonly policy?: { readonly mesh: PolicyMesh; readonly authorOf: AuthorOf | undefined };
  /** Subscribes to the outcome of each access file for the audit log. */
  readonly onPolicyDecision?: PolicyDecisions['listen'];
  /** Sends messages to webhooks; Node's fetch by default. */
  readonly fetch?: typeof fetch;
}

/** Process that operators run. */
export type AdminProcess = Process<
  {
    readonly publicUrl: string;
    /** Origin that browsers use to reach the page; absent if they have none. */
    readonly operatorUrl?: string | undefined;
    /** Directory with webhook secrets. */
    readonly approvalWebhookKeys?: string | undefined;
  },
  AdminParts
>;
