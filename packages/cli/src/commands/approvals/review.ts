import type { ApprovalRequest } from '@meshpass/identity/approval';
import { reviewArgs, reviewFlags, reviewOrder } from '../../approvals/review-order.ts';
import { requestText } from '../../approvals/text.ts';
import { defineCommand } from '../../command/define.ts';
import { operatorFlags, output, TOKEN_ENV } from '../../command/shared-flags.ts';
import { operatorClient } from '../../operator/client.ts';

export const command = defineCommand({
  about:
    'As an operator whom "review" of the grant names. Never your own emergency. An objection ends the access at once.',
  args: reviewArgs,
  flags: { ...reviewFlags, ...operatorFlags, output },
  env: TOKEN_ENV,
  examples: ['meshpass approvals review 0123456789abcdef01234567 --accept --reason "the database was down"'],
  page: 'docs/access/approvals.md',
  run: async ({ id, accept, object, reason, output, ...options }) => {
    const order = reviewOrder({ id, accept, object, reason });
    const call = operatorClient(options, process.env);
    const reviewed = (await call('POST', '/admin/approvals/review', order)) as ApprovalRequest;
    console.log(
      output === 'json' ? JSON.stringify(reviewed, null, 2) : requestText(reviewed, Math.floor(Date.now() / 1000)),
    );
  },
});
