import type { ApprovalRequest } from '@meshpass/identity/approval';
import { readReason, readRequestId } from '../../approvals/order.ts';
import { readDuration, requestText } from '../../approvals/text.ts';
import { defineCommand } from '../../command/define.ts';
import { argument, text } from '../../command/flag.ts';
import { operatorFlags, output, TOKEN_ENV } from '../../command/shared-flags.ts';
import { operatorClient } from '../../operator/client.ts';

export const command = defineCommand({
  about: 'As an operator whom "by" of the grant names. Never your own request.',
  args: { id: argument('id of the request; meshpass approvals list shows them') },
  flags: {
    for: text('<duration>', 'how long it is given', { defaultText: 'as long as was asked' }),
    reason: text('<text>', 'why, for the audit log and for whoever asked'),
    ...operatorFlags,
    output,
  },
  env: TOKEN_ENV,
  examples: ['meshpass approvals approve 0123456789abcdef01234567 --for 30m'],
  page: 'docs/access/approvals.md',
  run: async ({ id, for: duration, reason, output, ...options }) => {
    const order = {
      ...{ id: readRequestId(id, 'meshpass approvals list'), decision: 'approve' },
      ...(reason !== undefined && { reason: readReason(reason) }),
      ...(duration !== undefined && { seconds: readDuration(duration, '--for') }),
    };
    const call = operatorClient(options, process.env);
    const answer = (await call('POST', '/admin/approvals/answer', order)) as ApprovalRequest;
    console.log(
      output === 'json' ? JSON.stringify(answer, null, 2) : requestText(answer, Math.floor(Date.now() / 1000)),
    );
  },
});
