import { MeshpassError } from '@meshpass/identity/error';
import { ANSWERER_ENV, answererFlags, sendAnswer } from '../../approvals/answer.ts';
import { printRequest } from '../../approvals/text.ts';
import { defineCommand } from '../../command/define.ts';
import { argument, text, toggle } from '../../command/flag.ts';
import { output } from '../../command/shared-flags.ts';

export const command = defineCommand({
  about:
    'In a workspace, uses the identity of its session; the broker checks your teams and roles at GitHub again. With --operator, or if no agent runs, uses your identity as an operator (meshpass login). You cannot review your own emergency. ' +
    'An objection ends the access at once, and the person can take no other emergency until a reviewer accepts this one.',
  args: { id: argument('id of the emergency, from a list of requests') },
  flags: {
    accept: toggle('the emergency was justified'),
    object: toggle('the emergency was not justified: if the grant is still active, it ends at once'),
    reason: text('<text>', 'reason, for the audit log and the person who took the grant', { required: true }),
    ...answererFlags,
    output,
  },
  env: ANSWERER_ENV,
  exitCodes: { 1: 'refused: there is nothing to review, or you may not review it' },
  examples: [
    'meshpass review 0123456789abcdef01234567 --accept --reason "the database was down"',
    'meshpass review 0123456789abcdef01234567 --object --reason "no incident of that number"',
  ],
  page: 'docs/access/approvals.md',
  run: async ({ id, accept, object, reason, output, ...answerer }) => {
    if (accept === object) throw new MeshpassError('usage', 'Pass exactly one of --accept and --object.');
    const order = { id, decision: accept ? 'accept' : 'object', reason } as const;
    printRequest(await sendAnswer({ act: 'review', order }, answerer), output);
  },
});
