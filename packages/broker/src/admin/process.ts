/** The process that operators run, as seen by operators, approvals and policy changes. */
import type { Authorize } from '@meshpass/access';
import type { ReadGithub } from '../attest/index.ts';
import type { AuditLog } from '../audit/index.ts';
import type { Process } from '../base/index.ts';
import type { RotatingSigner, Sessions } from '../core/index.ts';
import type { RouteContext } from '../http/index.ts';
import type { MeshState, PolicyDecisions, PolicyMesh } from '../mesh/index.ts';
import type { Store } from '../store/index.ts';
import type { Approvals } from './approval/approvals.ts';
import type { Operators } from './operator/operators.ts';
import type { OperatorSignInDependencies } from './operator/sign-in.ts';
import type { PolicyAuthorResolver } from './policy/author.ts';

/** Dependencies of operators, approvals and policy changes that an installation provides. */
export interface AdminParts {
  readonly authorize: Authorize;
  readonly mesh: MeshState;
  readonly signer: RotatingSigner;
  /** GitHub access for approvers' memberships; absent if no team can approve. */
  readonly github?: { readonly read: ReadGithub };
  /** Verifies operators' proofs; absent if operators cannot sign in. */
  readonly operators?: OperatorSignInDependencies;
  /** Target of access file plans; absent if the access file is the one on disk. */
  readonly policy?: { readonly mesh: PolicyMesh; readonly authorOf: PolicyAuthorResolver | undefined };
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

/** Dependencies of the operators' routes. */
export interface AdminContext extends RouteContext {
  readonly operators: Operators;
  readonly approvals: Approvals;
  readonly sessions: Sessions;
  readonly store: Store;
  readonly trail: AuditLog['trail'];
  readonly mesh: Pick<MeshState, 'roots'>;
  readonly signer: Pick<RotatingSigner, 'sign'>;
  readonly publicUrl: string;
}
