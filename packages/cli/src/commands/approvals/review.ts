import { MeshpassError } from '@meshpass/identity/error';
import { ANSWERER_ENV, answererFlags, sendAnswer } from '../../approvals/answer.ts';
import { printRequest } from '../../approvals/text.ts';
import { defineCommand } from '../../command/define.ts';
import { argument, text, toggle } from '../../command/flag.ts';
import { output } from '../../command/shared-flags.ts';

export const command = defineCommand({
  about:
    'In a workspace, uses the session identity, and the broker rechecks your teams and roles on GitHub. With --operator, or if no agent is running, uses your operator identity (meshpass login). You cannot review your own emergency. ' +
    'An objection ends the access immediately, and the person cannot take another emergency until a reviewer accepts this one.',
  args: { id: argument('request ID of the emergency, from a list of requests') },
  flags: {
    accept: toggle('the emergency was justified'),
    object: toggle('the emergency was not justified: if the grant is still active, it ends immediately'),
    reason: text('<text>', 'reason for the audit log and the person who took the grant', { required: true }),
    ...answererFlags,
    output,
  },
  env: ANSWERER_ENV,
  exitCodes: { 1: 'rejected: there is nothing to review, or you are not allowed to review it' },
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
