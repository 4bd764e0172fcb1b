import { askApprovals } from '../approvals/agent.ts';
import { readReason, readRequestId } from '../approvals/order.ts';
import { requestText } from '../approvals/text.ts';
import { defineCommand } from '../command/define.ts';
import { argument, text } from '../command/flag.ts';
import { AGENT_ENV, output } from '../command/shared-flags.ts';

export const command = defineCommand({
  about: 'With the identity of this workspace. Never your own request.',
  args: { id: argument('id of the request; meshpass requests lists them') },
  flags: {
    reason: text('<text>', 'why, for the audit log and for whoever asked', { required: true }),
    output,
  },
  env: AGENT_ENV,
  exitCodes: { 1: 'refused: the request is not open, or you may not answer it' },
  examples: ['meshpass deny 0123456789abcdef01234567 --reason "not during the freeze"'],
  page: 'docs/access/approvals.md',
  run: async ({ id, reason, output }) => {
    const order = {
      ...{ id: readRequestId(id), decision: 'deny' as const },
      reason: readReason(reason),
    };
    const answered = await askApprovals({ act: 'answer', order });
    console.log(
      output === 'json' ? JSON.stringify(answered, null, 2) : requestText(answered, Math.floor(Date.now() / 1000)),
    );
  },
});
