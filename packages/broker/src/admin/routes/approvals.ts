/** Routes for sessions to create and answer approval requests (docs/access/approvals.md). */
import { AnswerOrder, ApprovalOrder, EmergencyOrder, ReviewOrder, WithdrawOrder } from '@meshpass/identity/approval';
import { z } from 'zod';
import { type Action, type AuditEvent, granted, type Outcome } from '../../audit/index.ts';
import type { Live, SessionCaller } from '../../core/index.ts';
import { type Authentication, type Route, route } from '../../http/index.ts';
import type { Approvals } from '../approval/approvals.ts';

/** Parameter `scope` of `GET /approvals`. */
export const ListScope = z.enum(['all', 'own']);
const ListQuery = z.object({ scope: ListScope.default('all') });
/** Maximum size of a body, bytes. */
const MOST = 4 * 1024;

/**
 * Returns `GET` and `POST /approvals`, `POST /approvals/emergency`, `/approvals/withdraw`, `/approvals/answer` and
 * `/approvals/review`.
 */
export function approvalRoutes(approvals: Approvals, session: Authentication<SessionCaller>): readonly Route[] {
  /** Creates a route for an order of a session. */
  const order = <Order>(
    path: string,
    action: Action,
    schema: z.ZodType<Order>,
    handler: (live: Live, order: Order, event: AuditEvent) => Promise<Outcome<unknown>>,
    auditMembers?: (order: Order) => Pick<AuditEvent, 'target' | 'detail'>,
  ): Route =>
    route({
      method: 'POST',
      path,
      action,
      authentication: session,
      schema,
      limit: MOST,
      ...(auditMembers && { auditMembers }),
      handler: async ({ caller: { live }, body, event }) => await handler(live, body, event),
    });
  const answer = (live: Live, body: AnswerOrder | ReviewOrder, event: AuditEvent) =>
    approvals.answer({ attestation: live.session.attestation, via: 'workspace' }, body, event);
  const decided = ({ id, decision }: AnswerOrder | ReviewOrder) => ({ target: id, detail: { decision } });
  return [
    route({
      method: 'GET',
      path: '/approvals',
      action: 'approval.list',
      authentication: session,
      schema: ListQuery,
      handler: async ({ caller: { live }, body: { scope }, event }) =>
        granted(event, await approvals.overview(live, scope)),
    }),
    order('/approvals', 'approval.request', ApprovalOrder, approvals.ask),
    order('/approvals/emergency', 'approval.emergency', EmergencyOrder, approvals.take, ({ grant }) => ({
      target: grant,
    })),
    order('/approvals/review', 'approval.review', ReviewOrder, answer, decided),
    order(
      '/approvals/withdraw',
      'approval.withdraw',
      WithdrawOrder,
      (live, { id }, event) => approvals.withdraw(live, id, event),
      ({ id }) => ({ target: id }),
    ),
    order('/approvals/answer', 'approval.answer', AnswerOrder, answer, decided),
  ];
}
