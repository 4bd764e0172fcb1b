import { ANSWERER_ENV, answererFlags, sendAnswer } from '../../approvals/answer.ts';
import { readReason, readRequestId } from '../../approvals/input.ts';
import { printRequest } from '../../approvals/text.ts';
import { defineCommand } from '../../command/define.ts';
import { argument, text } from '../../command/flag.ts';
import { output } from '../../command/shared-flags.ts';

export const command = defineCommand({
  about:
    'In a workspace, uses the session identity, and the broker rechecks your teams and roles on GitHub. With --operator, or if no agent is running, uses your operator identity (meshpass login). You cannot deny your own request.',
  args: { id: argument('request ID, from meshpass requests or meshpass approvals list') },
  flags: {
    reason: text('<text>', 'reason for the audit log and the requester', { required: true }),
    ...answererFlags,
    output,
  },
  env: ANSWERER_ENV,
  exitCodes: { 1: 'rejected: the request is not open, or you are not allowed to answer it' },
  examples: ['meshpass deny 0123456789abcdef01234567 --reason "not during the freeze"'],
  page: 'docs/access/approvals.md',
  run: async ({ id, reason, output, ...answerer }) => {
    const order = { id: readRequestId(id), decision: 'deny', reason: readReason(reason) } as const;
    printRequest(await sendAnswer({ act: 'answer', order }, answerer), output);
  },
});
