/** Routes for sessions to create and answer approval requests (docs/access/approvals.md). */
import { AnswerOrder, ApprovalOrder, EmergencyOrder, ReviewOrder, WithdrawOrder } from '@meshpass/identity/approval';
import { z } from 'zod';
import { granted } from '../../audit/index.ts';
import type { SessionCaller } from '../../core/index.ts';
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
    route({
      method: 'POST',
      path: '/approvals',
      action: 'approval.request',
      authentication: session,
      schema: ApprovalOrder,
      limit: MOST,
      handler: async ({ caller: { live }, body, event }) => await approvals.ask(live, body, event),
    }),
    route({
      method: 'POST',
      path: '/approvals/emergency',
      action: 'approval.emergency',
      authentication: session,
      schema: EmergencyOrder,
      limit: MOST,
      auditMembers: ({ grant }) => ({ target: grant }),
      handler: async ({ caller: { live }, body, event }) => await approvals.take(live, body, event),
    }),
    route({
      method: 'POST',
      path: '/approvals/review',
      action: 'approval.review',
      authentication: session,
      schema: ReviewOrder,
      limit: MOST,
      auditMembers: ({ id, decision }) => ({ target: id, detail: { decision } }),
      handler: async ({ caller: { live }, body, event }) =>
        await approvals.answer({ attestation: live.session.attestation, via: 'workspace' }, body, event),
    }),
    route({
      method: 'POST',
      path: '/approvals/withdraw',
      action: 'approval.withdraw',
      authentication: session,
      schema: WithdrawOrder,
      limit: MOST,
      auditMembers: ({ id }) => ({ target: id }),
      handler: async ({ caller: { live }, body, event }) => await approvals.withdraw(live, body.id, event),
    }),
    route({
      method: 'POST',
      path: '/approvals/answer',
      action: 'approval.answer',
      authentication: session,
      schema: AnswerOrder,
      limit: MOST,
      auditMembers: ({ id, decision }) => ({ target: id, detail: { decision } }),
      handler: async ({ caller: { live }, body, event }) =>
        await approvals.answer({ attestation: live.session.attestation, via: 'workspace' }, body, event),
    }),
  ];
}
