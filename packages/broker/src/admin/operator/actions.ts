/**
 * Lists all operator actions and the roles that permit them. Every route of the operator listener declares its action,
 * which may depend on the parameters. A test tries every role with every action through the HTTP API.
 */

import type { OperatorRole } from '@meshpass/access';
import { OPERATOR_ROLES } from '@meshpass/access';

interface Terms {
  readonly roles: readonly OperatorRole[];
  /** Whether a reason is required, because the action is irreversible or affects many people. */
  readonly destructive?: true;
  /** Whether the action is forbidden for callers with the break-glass token. */
  readonly notInAnEmergency?: true;
  /**
   * Whether the action is permitted even if the issuer's confirmation of the person is overdue. Only for routes with a
   * single action.
   */
  readonly evenUnconfirmed?: true;
  /** Whether the action is reserved for people, so that ServiceAccounts and the break-glass token cannot perform it. */
  readonly onlyPeople?: true;
}

const ALL = OPERATOR_ROLES;
const WORKERS = ['operator', 'security-officer', 'admin'] as const;
const OFFICERS = ['security-officer', 'admin'] as const;
const ADMIN = ['admin'] as const;

/** The roles that permit each action, and its other requirements. */
export const OPERATOR_ACTIONS = {
  'sessions.list': { roles: ALL },
  /** Finds sessions by user, subject, workspace or grant. */
  'sessions.find': { roles: ALL },
  'sessions.show': { roles: ALL },
  'sessions.close': { roles: WORKERS },
  'sessions.close-user': { roles: WORKERS },
  'sessions.close-workspace': { roles: WORKERS },
  'sessions.close-grant': { roles: WORKERS },
  'sessions.close-all': { roles: OFFICERS, destructive: true },

  'trust.show': { roles: ALL },
  'rotation.rotate': { roles: OFFICERS, destructive: true },
  /** Invalidates all existing tokens immediately. */
  'rotation.revoke': { roles: OFFICERS, destructive: true },

  'audit.tail': { roles: WORKERS },
  'audit.page': { roles: WORKERS },
  'audit.session': { roles: ['approver', ...WORKERS] },
  'audit.decision': { roles: ['approver', ...WORKERS] },
  'audit.export': { roles: OFFICERS },
  'audit.checkpoint': { roles: WORKERS },
  'audit.key': { roles: ALL },
  'audit.restores': { roles: WORKERS },
  'audit.prune': { roles: OFFICERS, destructive: true, notInAnEmergency: true },

  'drill.session': { roles: WORKERS },
  'drill.evidence': { roles: WORKERS },

  'policy.plan': { roles: ['viewer', ...WORKERS] },
  'policy.history': { roles: ALL },
  'policy.version': { roles: ALL },
  /**
   * Operators who can apply an access file could assign themselves any role or grant, so both actions require the
   * highest role.
   */
  'policy.apply': { roles: ADMIN, destructive: true },
  'policy.rollback': { roles: ADMIN, destructive: true },

  'approvals.list': { roles: ALL },
  'approvals.show': { roles: ALL },
  /** A role is not enough to approve a request. The operator must also match an entry in the grant's `by`. */
  'approvals.approve': { roles: ['approver', 'security-officer', 'admin'], onlyPeople: true },
  'approvals.deny': { roles: ['approver', 'security-officer', 'admin'], onlyPeople: true },
  /** Reviews emergency access. The operator must also match an entry in the grant's `review`. */
  'approvals.review': { roles: ['approver', 'security-officer', 'admin'], onlyPeople: true },
  'approvals.revoke': { roles: WORKERS, destructive: true },

  'operators.whoami': { roles: ALL },
  'operators.logout': { roles: ALL, evenUnconfirmed: true },
  /** Confirms the operator's sign-in with a fresh ID token from the issuer. */
  'operators.confirm-sign-in': { roles: ALL, onlyPeople: true, evenUnconfirmed: true },
  'operators.roles': { roles: ALL },
  'operators.list': { roles: WORKERS },
  'operators.close': { roles: OFFICERS },
  'operators.close-person': { roles: OFFICERS },
} as const satisfies Readonly<Record<string, Terms>>;

export type OperatorAction = keyof typeof OPERATOR_ACTIONS;

/** Returns the requirements of an action. */
export function actionRequirements(action: OperatorAction): Terms {
  return OPERATOR_ACTIONS[action];
}
