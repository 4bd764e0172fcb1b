/** Routes for operators to read and answer approval requests (docs/access/approvals.md). */
import { MeshpassError } from '@meshpass/identity';
import { AnswerOrder, ApprovalId, ReviewOrder } from '@meshpass/identity/approval';
import { z } from 'zod';
import { granted } from '../../audit/index.ts';
import type { Route } from '../../http/index.ts';
import type { Approvals } from '../approval/approvals.ts';
import { type OperatorCall, operatorRoutes, Reason } from '../operator/operator-route.ts';
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
export function operatorApprovalRoutes({ approvals, operators }: OperatorApprovalsContext): readonly Route[] {
  const on = operatorRoutes(operators.authentication);
  const answer = async ({ caller, body, event }: OperatorCall<AnswerOrder | ReviewOrder>) => {
    const { attestation } = caller;
    if (!attestation) throw nobody();
    return await approvals.answer({ attestation, via: 'operator' }, body, event);
  };
  return [
    on(
      'GET /admin/approvals',
      {
        does: ({ id }) => (id === undefined ? 'approvals.list' : 'approvals.show'),
        action: 'approval.list',
        schema: ListQuery,
      },
      async ({ event, body }) => granted(event, { requests: await approvals.list(body.id) }),
    ),
    on(
      'POST /admin/approvals/answer',
      {
        does: ({ decision }) => (decision === 'approve' ? 'approvals.approve' : 'approvals.deny'),
        action: 'approval.answer',
        schema: AnswerOrder,
        limit: MOST,
      },
      answer,
    ),
    on(
      'POST /admin/approvals/review',
      { does: 'approvals.review', action: 'approval.review', schema: ReviewOrder, limit: MOST },
      answer,
    ),
    on(
      'POST /admin/approvals/revoke',
      { does: 'approvals.revoke', action: 'approval.revoke', schema: RevokeOrder, limit: MOST },
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
