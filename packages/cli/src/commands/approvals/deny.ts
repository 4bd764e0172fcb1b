import { ANSWERER_ENV, answererFlags, sendAnswer } from '../../approvals/answer.ts';
import { readReason, readRequestId } from '../../approvals/input.ts';
import { printRequest } from '../../approvals/text.ts';
import { defineCommand } from '../../command/define.ts';
import { argument, text } from '../../command/flag.ts';
import { output } from '../../command/shared-flags.ts';

export const command = defineCommand({
  about:
    'In a workspace, uses the identity of its session; the broker checks your teams and roles at GitHub again. With --operator, or if no agent runs, uses your identity as an operator (meshpass login). You cannot deny your own request.',
  args: { id: argument('id of the request, from meshpass requests or meshpass approvals list') },
  flags: {
    reason: text('<text>', 'reason, for the audit log and the requester', { required: true }),
    ...answererFlags,
    output,
  },
  env: ANSWERER_ENV,
  exitCodes: { 1: 'refused: the request is not open, or you may not answer it' },
  examples: ['meshpass deny 0123456789abcdef01234567 --reason "not during the freeze"'],
  page: 'docs/access/approvals.md',
  run: async ({ id, reason, output, ...answerer }) => {
    const order = { id: readRequestId(id), decision: 'deny', reason: readReason(reason) } as const;
    printRequest(await sendAnswer({ act: 'answer', order }, answerer), output);
  },
});
