/**
 * Defines the commands that answer approval requests and review emergencies. They act on behalf of either the user of
 * the workspace session or an operator.
 */
import { APPROVAL_PATHS, type ApprovalsChange } from '@meshpass/agent/approvals/command';
import { isAgentRunning, runtimeDirectory } from '@meshpass/agent/control/control';
import type { ApprovalRequest } from '@meshpass/identity/approval';
import { MeshpassError } from '@meshpass/identity/error';
import { sendApprovalsCommand } from '../../agent/ask.ts';
import { readRequestId, requestAnswer } from '../../approvals/text.ts';
import type { Answer } from '../../command/answer.ts';
import { defineCommand } from '../../command/define.ts';
import { argument, duration, nonBlankText, type OptionsOf, text, toggle } from '../../command/flag.ts';
import { AGENT_ENV, OPERATOR_ORIGIN, operatorFlags, output, STATE_ENV } from '../../command/shared-flags.ts';
import { SessionFile } from '../../login/session-file.ts';
import { createOperatorClient } from '../../operator/client.ts';

/** The flags for answering as an operator instead of as the user of the workspace session. */
const answererFlags = {
  operator: text('<url>', "origin of the broker's operator listener, to answer as an operator", {
    env: 'MESHPASS_OPERATOR',
    defaultText: `the workspace session, or ${OPERATOR_ORIGIN} if no agent is running`,
  }),
  caFile: operatorFlags.caFile,
};
const REQUEST_ID = argument('request ID, from meshpass requests or meshpass approvals list');
const BY =
  'In a workspace, uses the session identity, and the broker rechecks your teams and roles on GitHub. With --operator, or if no agent is running, uses your operator identity (meshpass login).';
const shared = { env: { ...AGENT_ENV, ...STATE_ENV }, page: 'docs/access/approvals.md' };
const exitCodes = { 1: 'rejected: the request is not open, or you are not allowed to answer it' };

export const commands = {
  approve: defineCommand({
    about: `${BY} You cannot approve your own request.`,
    args: { id: REQUEST_ID },
    flags: {
      for: duration('<duration>', 'how long the grant lasts', { defaultText: 'as requested' }),
      reason: nonBlankText('<text>', 'reason for the audit log and the requester'),
      ...answererFlags,
      output,
    },
    exitCodes,
    examples: ['meshpass approve 0123456789abcdef01234567 --for 30m'],
    ...shared,
    run: ({ id, for: seconds, reason, ...answerer }) => {
      const order = { id: readRequestId(id), decision: 'approve', seconds, reason } as const;
      return sendAnswer({ act: 'answer', order }, answerer);
    },
  }),
  deny: defineCommand({
    about: `${BY} You cannot deny your own request.`,
    args: { id: REQUEST_ID },
    flags: {
      reason: nonBlankText('<text>', 'reason for the audit log and the requester', { required: true }),
      ...answererFlags,
      output,
    },
    exitCodes,
    examples: ['meshpass deny 0123456789abcdef01234567 --reason "not during the freeze"'],
    ...shared,
    run: ({ id, reason, ...answerer }) =>
      sendAnswer({ act: 'answer', order: { id: readRequestId(id), decision: 'deny', reason } }, answerer),
  }),
  review: defineCommand({
    about: `${BY} You cannot review your own emergency. An objection ends the access immediately, and the person cannot take another emergency until a reviewer accepts this one.`,
    args: { id: argument('request ID of the emergency, from a list of requests') },
    flags: {
      accept: toggle('the emergency was justified'),
      object: toggle('the emergency was not justified: if the grant is still active, it ends immediately'),
      reason: text('<text>', 'reason for the audit log and the person who took the grant', { required: true }),
      ...answererFlags,
      output,
    },
    exitCodes: { 1: 'rejected: there is nothing to review, or you are not allowed to review it' },
    examples: [
      'meshpass review 0123456789abcdef01234567 --accept --reason "the database was down"',
      'meshpass review 0123456789abcdef01234567 --object --reason "no incident of that number"',
    ],
    ...shared,
    run: ({ id, accept, object, reason, ...answerer }) => {
      if (accept === object) throw new MeshpassError('usage', 'Pass exactly one of --accept and --object.');
      return sendAnswer({ act: 'review', order: { id, decision: accept ? 'accept' : 'object', reason } }, answerer);
    },
  }),
};

/**
 * Sends an answer or a review. If an agent is running here and the command line does not select an operator listener,
 * it is sent on behalf of the workspace session.
 * @throws MeshpassError `agent_not_running` if no agent is running and no operator is signed in, or the error that the
 *   broker returns
 */
async function sendAnswer(
  change: Extract<ApprovalsChange, { readonly act: 'answer' | 'review' }>,
  { operator, caFile }: OptionsOf<typeof answererFlags>,
): Promise<Answer> {
  if (operator === undefined && (await isAgentRunning(runtimeDirectory(process.env))))
    return requestAnswer(await sendApprovalsCommand(change));
  if (operator === undefined && !new SessionFile(OPERATOR_ORIGIN).read())
    throw new MeshpassError(
      'agent_not_running',
      'No agent is running and no operator is signed in. Run meshpass up in a workspace, or meshpass login as an operator.',
    );
  const call = createOperatorClient({ operator: operator ?? OPERATOR_ORIGIN, caFile });
  return requestAnswer((await call('POST', `/admin${APPROVAL_PATHS[change.act]}`, change.order)) as ApprovalRequest);
}
