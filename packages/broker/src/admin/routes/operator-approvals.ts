/** Routes for operators to read and answer approval requests (docs/access/approvals.md). */
import { MeshpassError } from '@meshpass/identity';
import { AnswerOrder, ApprovalId, ReviewOrder } from '@meshpass/identity/approval';
import { z } from 'zod';
import { granted } from '../../audit/index.ts';
import type { Approvals } from '../approval/approvals.ts';
import { type MountedOperatorRoute, type OperatorCall, operatorRoute, Reason } from '../operator/operator-route.ts';
import type { Operators } from '../operator/operators.ts';

export interface OperatorApprovalsContext {
  readonly approvals: Approvals;
  readonly operators: Operators;
}

const MOST = 4 * 1024;
const ListQuery = z.strictObject({ id: ApprovalId.optional() });
/** Body of `POST /admin/approvals/revoke`. */
export const RevokeOrder = z.strictObject({ id: ApprovalId, reason: Reason });

/**
 * Returns `GET /admin/approvals`, `POST /admin/approvals/answer`, `/admin/approvals/review` and
 * `/admin/approvals/revoke`.
 */
export function operatorApprovalRoutes({
  approvals,
  operators,
}: OperatorApprovalsContext): readonly MountedOperatorRoute[] {
  const answer = async ({ caller, body, event }: OperatorCall<AnswerOrder | ReviewOrder>) => {
    const { attestation } = caller;
    if (!attestation) throw nobody();
    return await approvals.answer({ attestation, via: 'operator' }, body, event);
  };
  return [
    operatorRoute(
      operators,
      {
        does: {
          among: ['approvals.list', 'approvals.show'],
          of: ({ body }) => (body.id === undefined ? 'approvals.list' : 'approvals.show'),
        },
        method: 'GET',
        path: '/admin/approvals',
        action: 'approval.list',
        schema: ListQuery,
      },
      async ({ event, body }) => granted(event, { requests: await approvals.list(body.id) }),
    ),
    operatorRoute(
      operators,
      {
        does: {
          among: ['approvals.approve', 'approvals.deny'],
          of: ({ body }) => (body.decision === 'approve' ? 'approvals.approve' : 'approvals.deny'),
        },
        method: 'POST',
        path: '/admin/approvals/answer',
        action: 'approval.answer',
        schema: AnswerOrder,
        limit: MOST,
      },
      answer,
    ),
    operatorRoute(
      operators,
      {
        does: 'approvals.review',
        method: 'POST',
        path: '/admin/approvals/review',
        action: 'approval.review',
        schema: ReviewOrder,
        limit: MOST,
      },
      answer,
    ),
    operatorRoute(
      operators,
      {
        does: 'approvals.revoke',
        method: 'POST',
        path: '/admin/approvals/revoke',
        action: 'approval.revoke',
        schema: RevokeOrder,
        limit: MOST,
      },
      async ({ body, event }) => await approvals.revoke(body.id, body.reason, event),
    ),
  ];
}

/** Builds the error for ServiceAccounts, because only a person can approve. */
function nobody(): MeshpassError {
  return new MeshpassError(
    'approval_forbidden',
    'A ServiceAccount cannot answer a request or review an emergency. Sign in as a person.',
  );
}
