/** Describes the parts of the broker process that operators, approvals and policy changes depend on. */
import type { Authorize } from '@meshpass/access';
import type { ReadGithub } from '../attest/index.ts';
import type { AuditLog } from '../audit/index.ts';
import type { Process } from '../base/index.ts';
import type { RotatingSigner, Sessions } from '../core/index.ts';
import type { MeshState, PolicyDecisions, PolicyMesh } from '../mesh/index.ts';
import type { Store } from '../store/index.ts';
import type { Approvals } from './approval/approvals.ts';
import type { operatorRoutes } from './operator/operator-route.ts';
import type { Operators } from './operator/operators.ts';
import type { OperatorSignInContext, OperatorSignInDependencies } from './operator/sign-in.ts';
import type { PolicyAuthorResolver } from './policy/author.ts';

/** The dependencies that the installation provides for operators, approvals and policy changes. */
export interface AdminParts {
  readonly authorize: Authorize;
  readonly mesh: MeshState;
  readonly signer: RotatingSigner;
  /** Reads approvers' memberships from GitHub. Absent if teams cannot approve requests. */
  readonly github?: { readonly read: ReadGithub };
  /** Verifies operators who sign in. Absent if they cannot sign in. */
  readonly operators?: OperatorSignInDependencies;
  /** Plans and applies access files. Absent if access files cannot be applied by a plan. */
  readonly policy?: { readonly mesh: PolicyMesh; readonly authorOf: PolicyAuthorResolver | undefined };
  /** Subscribes to the outcome of every access file, which is then recorded in the audit log. */
  readonly onPolicyDecision?: PolicyDecisions['listen'];
  /** The function used to send messages to webhooks. Defaults to Node's `fetch`. */
  readonly fetch?: typeof fetch;
}

/** The broker process, with the settings and dependencies that concern its operators. */
export type AdminProcess = Process<
  {
    readonly publicUrl: string;
    /** The origin where browsers reach the page. Absent if the page is not available to browsers. */
    readonly operatorUrl?: string | undefined;
    /** The directory that contains the webhook secrets. */
    readonly approvalWebhookKeys?: string | undefined;
  },
  AdminParts
>;

/** The dependencies of the operator routes. */
export interface AdminContext extends OperatorSignInContext {
  readonly operators: Operators;
  /** Creates a route that authenticates operators by their Authorization header. */
  readonly on: ReturnType<typeof operatorRoutes>;
  readonly approvals: Approvals;
  readonly sessions: Sessions;
  readonly store: Store;
  readonly trail: AuditLog['trail'];
  readonly mesh: Pick<MeshState, 'roots'>;
  readonly signer: Pick<RotatingSigner, 'sign'>;
}
