import type { ApprovalRequest } from '@meshpass/identity/approval';
import { readReason, readRequestId } from '../../approvals/input.ts';
import { printRequest } from '../../approvals/text.ts';
import { defineCommand } from '../../command/define.ts';
import { argument, text } from '../../command/flag.ts';
import { operatorFlags, output, TOKEN_ENV } from '../../command/shared-flags.ts';
import { operatorClient } from '../../operator/client.ts';

export const command = defineCommand({
  about:
    'The session loses the grant immediately, and a pending request ends. The person can still take the grant again in an emergency; only an objection (meshpass review) prevents that.',
  args: { id: argument('request ID, from meshpass approvals list') },
  flags: { reason: text('<text>', 'reason for the audit log', { required: true }), ...operatorFlags, output },
  env: TOKEN_ENV,
  examples: ['meshpass approvals revoke 0123456789abcdef01234567 --reason "incident resolved"'],
  page: 'docs/access/approvals.md',
  run: async ({ id, reason, output, ...options }) => {
    const order = { id: readRequestId(id, 'meshpass approvals list'), reason: readReason(reason) };
    const call = operatorClient(options, process.env);
    const answer = (await call('POST', '/admin/approvals/revoke', order)) as ApprovalRequest;
    printRequest(answer, output);
  },
});
