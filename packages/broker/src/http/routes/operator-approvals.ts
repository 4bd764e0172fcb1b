/** Requests for approval, as operators see and answer them. docs/access/approvals.md is their prose. */
import { MeshpassError } from '@meshpass/identity';
import { AnswerOrder, ApprovalId, ReviewOrder } from '@meshpass/identity/approval';
import { z } from 'zod';
import type { Approvals } from '../../approval/approvals.ts';
import { granted, refused } from '../../audit/log/decision.ts';
import { type MountedOperatorRoute, operatorRoute, Reason } from '../operator-route.ts';
import type { Operators } from '../operators.ts';

export interface OperatorApprovalsContext {
  readonly approvals: Approvals;
  readonly operators: Operators;
}

const MOST = 4 * 1024;
const ListQuery = z.strictObject({ id: ApprovalId.optional() });
export const RevokeOrder = z.strictObject({ id: ApprovalId, reason: Reason });

/** `GET /admin/approvals`, `POST /admin/approvals/answer`, `/admin/approvals/review` and `/admin/approvals/revoke`. */
export function operatorApprovalRoutes({
  approvals,
  operators,
}: OperatorApprovalsContext): readonly MountedOperatorRoute[] {
  return [
    operatorRoute(
      operators,
      {
        does: {
          among: ['approvals.list', 'approvals.show'],
          of: ({ query }) => (query.id === undefined ? 'approvals.list' : 'approvals.show'),
        },
        ...{ method: 'GET', path: '/admin/approvals', action: 'approval.list' },
      },
      async ({ event, query }) => {
        const selector = ListQuery.safeParse(query);
        if (selector.success) return granted(event, { requests: await approvals.list(selector.data.id) });
        return refused(event, new MeshpassError('request_malformed', 'The only parameter is id, of a request.'));
      },
    ),
    operatorRoute(
      operators,
      {
        does: {
          among: ['approvals.approve', 'approvals.deny'],
          of: ({ body }) => (body.decision === 'approve' ? 'approvals.approve' : 'approvals.deny'),
        },
        ...{ method: 'POST', path: '/admin/approvals/answer', action: 'approval.answer' },
        ...{ schema: AnswerOrder, limit: MOST },
      },
      async ({ caller, body, event }) => {
        const { attestation } = caller;
        return attestation
          ? await approvals.answer({ attestation, via: 'operator' }, body, event)
          : refused(event, nobody());
      },
    ),
    operatorRoute(
      operators,
      {
        does: 'approvals.review',
        ...{ method: 'POST', path: '/admin/approvals/review', action: 'approval.review' },
        ...{ schema: ReviewOrder, limit: MOST },
      },
      async ({ caller, body, event }) => {
        const { attestation } = caller;
        return attestation
          ? await approvals.review({ attestation, via: 'operator' }, body, event)
          : refused(event, nobody());
      },
    ),
    operatorRoute(
      operators,
      {
        does: 'approvals.revoke',
        ...{ method: 'POST', path: '/admin/approvals/revoke', action: 'approval.revoke' },
        ...{ schema: RevokeOrder, limit: MOST },
      },
      async ({ body, event }) => await approvals.revoke(body.id, body.reason, event),
    ),
  ];
}

/** An approval is a person's word. */
function nobody(): MeshpassError {
  return new MeshpassError(
    'approval_forbidden',
    'A ServiceAccount is no person: somebody has to sign in to answer a request, or to review.',
  );
}
