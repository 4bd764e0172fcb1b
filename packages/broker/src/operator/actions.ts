/**
 * What operators can do, and which roles may: the one table. Every route of the operator listener names what it does here; a route that
 * does different things by its parameters names each. A test holds every role against every action at the HTTP API.
 */

import type { OperatorRole } from '@meshpass/access';
import { OPERATOR_ROLES } from '@meshpass/access';

interface Terms {
  readonly roles: readonly OperatorRole[];
  /** It takes something away for good, or from many: a reason is required. */
  readonly destructive?: true;
  /** Whoever comes with the break-glass token may not. */
  readonly notInAnEmergency?: true;
}

const ALL = OPERATOR_ROLES;
const WORKERS = ['operator', 'security-officer', 'admin'] as const;
const OFFICERS = ['security-officer', 'admin'] as const;
const AUTHORS = ['operator', 'admin'] as const;
const ADMIN = ['admin'] as const;

export const OPERATOR_ACTIONS = {
  'sessions.list': { roles: ALL },
  /** Selected by user, subject, workspace or grant. */
  'sessions.find': { roles: ALL },
  'sessions.show': { roles: ALL },
  'sessions.close': { roles: WORKERS },
  'sessions.close-user': { roles: WORKERS },
  'sessions.close-workspace': { roles: WORKERS },
  'sessions.close-grant': { roles: WORKERS },
  'sessions.close-all': { roles: OFFICERS, destructive: true },

  'trust.show': { roles: ALL },
  'rotation.rotate': { roles: OFFICERS, destructive: true },
  /** All tokens so far become invalid at once. */
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
  'policy.apply': { roles: AUTHORS, destructive: true },
  /** In spite of what is not known. */
  'policy.apply-unknown': { roles: ADMIN, destructive: true },
  /** A file that changes whom Meshpass trusts, or who operates it: whoever may do this may give themselves any role. */
  'policy.apply-trust': { roles: ADMIN, destructive: true },
  'policy.rollback': { roles: AUTHORS, destructive: true },
  'policy.rollback-unknown': { roles: ADMIN, destructive: true },
  'policy.rollback-trust': { roles: ADMIN, destructive: true },

  'approvals.list': { roles: ALL },
  'approvals.show': { roles: ALL },
  /** Whom "by" of the grant names: a role alone approves nothing. */
  'approvals.approve': { roles: ['approver', 'security-officer', 'admin'], notInAnEmergency: true },
  'approvals.deny': { roles: ['approver', 'security-officer', 'admin'], notInAnEmergency: true },
  /** Of what was taken in an emergency. Whom "review" of the grant names. */
  'approvals.review': { roles: ['approver', 'security-officer', 'admin'], notInAnEmergency: true },
  'approvals.revoke': { roles: WORKERS, destructive: true },

  'operators.whoami': { roles: ALL },
  'operators.logout': { roles: ALL },
  /** An ID token that the issuer has just given: of people alone. */
  'operators.confirm-sign-in': { roles: ALL, notInAnEmergency: true },
  'operators.roles': { roles: ALL },
  'operators.list': { roles: WORKERS },
  'operators.close': { roles: OFFICERS },
  'operators.close-person': { roles: OFFICERS },
  'operators.confirmations': { roles: WORKERS },
  'operators.confirmation': { roles: WORKERS },
  /** And the action itself: whose role does not allow that cannot confirm it. */
  'operators.confirm': { roles: WORKERS, notInAnEmergency: true },
  /** One's own; that of another only by whose role allows the action. */
  'operators.withdraw': { roles: WORKERS },
} as const satisfies Readonly<Record<string, Terms>>;

export type OperatorAction = keyof typeof OPERATOR_ACTIONS;

/** @returns the terms of an action, with every member that any has */
export function termsOf(action: OperatorAction): Terms {
  return OPERATOR_ACTIONS[action];
}
