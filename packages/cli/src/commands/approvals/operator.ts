/** Defines the operator commands that manage the approvals of all sessions. */
import type { ApprovalRequest } from '@meshpass/identity/approval';
import { MeshpassError } from '@meshpass/identity/error';
import { formatRequest, readRequestId, requestAnswer } from '../../approvals/text.ts';
import { defineCommand } from '../../command/define.ts';
import { argument, nonBlankText } from '../../command/flag.ts';
import { operatorFlags, output, TOKEN_ENV } from '../../command/shared-flags.ts';
import { createOperatorClient } from '../../operator/client.ts';

interface Listed {
  readonly requests: readonly ApprovalRequest[];
}

const LIST = 'meshpass approvals list';
const args = { id: argument(`request ID, from ${LIST}`) };
const shared = { env: TOKEN_ENV, page: 'docs/access/approvals.md' };

export const commands = {
  list: defineCommand({
    about: 'Newest first, with the state of each request.',
    flags: { ...operatorFlags, output },
    examples: [LIST],
    ...shared,
    run: async (options) => {
      const { requests } = (await createOperatorClient(options)('GET', '/admin/approvals')) as Listed;
      const text = () => requests.map(formatRequest).join('\n') || 'No requests for approval.';
      return { json: { requests }, text };
    },
  }),
  show: defineCommand({
    about: 'Shows the requester, the grant, the reason and each answer.',
    args,
    flags: { ...operatorFlags, output },
    examples: ['meshpass approvals show 0123456789abcdef01234567'],
    ...shared,
    run: async ({ id, ...options }) => {
      const path = `/admin/approvals?id=${readRequestId(id, LIST)}`;
      const [found] = ((await createOperatorClient(options)('GET', path)) as Listed).requests;
      if (!found) throw new MeshpassError('approval_unknown', `Request ${id} does not exist.`);
      return requestAnswer(found);
    },
  }),
  revoke: defineCommand({
    about:
      'The session loses the grant immediately, and a pending request ends. The person can still take the grant again in an emergency; only an objection (meshpass review) prevents that.',
    args,
    flags: { reason: nonBlankText('<text>', 'reason for the audit log', { required: true }), ...operatorFlags, output },
    examples: ['meshpass approvals revoke 0123456789abcdef01234567 --reason "incident resolved"'],
    ...shared,
    run: async ({ id, reason, ...options }) => {
      const order = { id: readRequestId(id, LIST), reason };
      return requestAnswer(
        (await createOperatorClient(options)('POST', '/admin/approvals/revoke', order)) as ApprovalRequest,
      );
    },
  }),
};
