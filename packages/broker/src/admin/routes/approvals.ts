/**
 * Routes for creating and answering approval requests. They are used by sessions and operators
 * (docs/access/approvals.md) and by webhooks (docs/access/webhooks.md).
 */

import { sourceGroup } from '@meshpass/identity';
import {
  ApprovalAnswerBody,
  ApprovalId,
  ApprovalRequestBody,
  ApprovalReviewBody,
  ApprovalWithdrawBody,
  EmergencyAccessBody,
} from '@meshpass/identity/approval';
import { z } from 'zod';
import type { AuditAction, AuditEvent } from '../../audit/index.ts';
import { createRateAllowance } from '../../base/index.ts';
import type { Live, SessionCaller } from '../../core/index.ts';
import { type Authentication, type Route, readBody, route } from '../../http/index.ts';
import type { Approvals } from '../approval/approvals.ts';
import { type AuthorizedRoute, type OperatorCall, Reason } from '../operator/operator-route.ts';
import type { AdminContext } from '../process.ts';

/** The `scope` parameter of `GET /approvals`. */
export const ApprovalListScope = z.enum(['all', 'own']);
const ListQuery = z.object({ scope: ApprovalListScope.default('all') });
/** The maximum size of a request body, in bytes. */
const MOST = 4 * 1024;

/**
 * Returns `GET` and `POST /approvals`, `POST /approvals/emergency`, `/approvals/withdraw`, `/approvals/answer` and
 * `/approvals/review`.
 */
export function approvalRoutes(approvals: Approvals, session: Authentication<SessionCaller>): readonly Route[] {
  /** Creates a `POST` route for sessions. */
  const order = <Order>(
    path: `/${string}`,
    action: AuditAction,
    schema: z.ZodType<Order>,
    handler: (live: Live, order: Order, event: AuditEvent) => Promise<unknown>,
    auditMembers?: (order: Order) => Pick<AuditEvent, 'target' | 'detail'>,
  ): Route =>
    route({
      at: `POST ${path}`,
      action,
      authentication: session,
      schema,
      limit: MOST,
      ...(auditMembers && { auditMembers }),
      handler: async ({ caller: { live }, body, event }) => await handler(live, body, event),
    });
  const answer = (live: Live, body: ApprovalAnswerBody | ApprovalReviewBody, event: AuditEvent) =>
    approvals.answer({ attestation: live.session.attestation, via: 'workspace' }, body, event);
  const decided = ({ id, decision }: ApprovalAnswerBody | ApprovalReviewBody) => ({ target: id, detail: { decision } });
  return [
    route({
      at: 'GET /approvals',
      action: 'approval.list',
      authentication: session,
      schema: ListQuery,
      handler: ({ caller: { live }, body: { scope } }) => approvals.overview(live, scope),
    }),
    order('/approvals', 'approval.request', ApprovalRequestBody, approvals.ask),
    order('/approvals/emergency', 'approval.emergency', EmergencyAccessBody, approvals.take, ({ grant }) => ({
      target: grant,
    })),
    order('/approvals/review', 'approval.review', ApprovalReviewBody, answer, decided),
    order(
      '/approvals/withdraw',
      'approval.withdraw',
      ApprovalWithdrawBody,
      (live, { id }, event) => approvals.withdraw(live, id, event),
      ({ id }) => ({ target: id }),
    ),
    order('/approvals/answer', 'approval.answer', ApprovalAnswerBody, answer, decided),
  ];
}

/** The maximum size of a webhook message, in bytes. */
const MOST_OF_WEBHOOK = 8 * 1024;
/** How many unauthenticated webhook messages are accepted per source address. */
const ATTEMPTS = { burst: 30, perSecond: 1 };

/** Returns `POST /approvals/answers/NAME`. */
export function approvalWebhookRoutes(approvals: Approvals, clock: () => number): readonly Route[] {
  const attempts = createRateAllowance({ ...ATTEMPTS, clock });
  return [
    route({
      at: 'POST /approvals/answers/:name',
      action: 'approval.answer',
      authentication: ({ event }) => {
        const source = sourceGroup(event.source ?? 'unknown');
        attempts.spend(source, 'Too many messages from this address. Wait before you try again.');
      },
      read: (request) => readBody(request, MOST_OF_WEBHOOK),
      handler: async ({ request, params, body, event }) =>
        await approvals.receive(params.name ?? '', request.headers, body, event),
    }),
  ];
}

const OperatorListQuery = z.strictObject({ id: ApprovalId.optional() });
/** The body of `POST /admin/approvals/revoke`. */
export const ApprovalRevokeBody = z.strictObject({ id: ApprovalId, reason: Reason });

/**
 * Returns `GET /admin/approvals`, `POST /admin/approvals/answer`, `/admin/approvals/review` and
 * `/admin/approvals/revoke`.
 */
export function operatorApprovalRoutes({
  approvals,
  on,
}: Pick<AdminContext, 'approvals' | 'on'>): readonly AuthorizedRoute[] {
  // These actions are reserved for people, who always have an attestation.
  const answer = ({ caller, body, event }: OperatorCall<ApprovalAnswerBody | ApprovalReviewBody>) =>
    approvals.answer({ attestation: caller.attestation!, via: 'operator' }, body, event);
  return [
    on(
      'GET /admin/approvals',
      {
        does: ({ id }) => (id === undefined ? 'approvals.list' : 'approvals.show'),
        action: 'approval.list',
        schema: OperatorListQuery,
      },
      async ({ body }) => ({ requests: await approvals.list(body.id) }),
    ),
    on(
      'POST /admin/approvals/answer',
      {
        does: ({ decision }) => (decision === 'approve' ? 'approvals.approve' : 'approvals.deny'),
        action: 'approval.answer',
        schema: ApprovalAnswerBody,
        limit: MOST,
      },
      answer,
    ),
    on(
      'POST /admin/approvals/review',
      { does: 'approvals.review', action: 'approval.review', schema: ApprovalReviewBody, limit: MOST },
      answer,
    ),
    on(
      'POST /admin/approvals/revoke',
      { does: 'approvals.revoke', action: 'approval.revoke', schema: ApprovalRevokeBody, limit: MOST },
      async ({ body, event }) => await approvals.revoke(body.id, body.reason, event),
    ),
  ];
}
