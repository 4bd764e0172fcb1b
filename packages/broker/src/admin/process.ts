/** The broker process, as seen by the code for operators, approvals and policy changes. */
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
import type { OperatorSignInContext, OperatorSignInDependencies } from './operator/sign-in.ts';
import type { PolicyAuthorResolver } from './policy/author.ts';

/** Dependencies that the installation provides for operators, approvals and policy changes. */
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
  /** Subscribes to the outcome of each access file, which is recorded in the audit log. */
  readonly onPolicyDecision?: PolicyDecisions['listen'];
  /** Sends messages to webhooks; defaults to Node's fetch. */
  readonly fetch?: typeof fetch;
}

/** The broker process, with the settings and parts for its operators. */
export type AdminProcess = Process<
  {
    readonly publicUrl: string;
    /** Origin that browsers use to reach the page; absent if they cannot reach it. */
    readonly operatorUrl?: string | undefined;
    /** Directory with webhook secrets. */
    readonly approvalWebhookKeys?: string | undefined;
  },
  AdminParts
>;

/** Dependencies of the operator routes. */
export interface AdminContext extends RouteContext, OperatorSignInContext {
  readonly operators: Operators;
  readonly approvals: Approvals;
  readonly sessions: Sessions;
  readonly store: Store;
  readonly trail: AuditLog['trail'];
  readonly mesh: Pick<MeshState, 'roots'>;
  readonly signer: Pick<RotatingSigner, 'sign'>;
}
