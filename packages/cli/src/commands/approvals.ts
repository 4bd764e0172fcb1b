/** Defines the commands for approvals: a developer's requests, the answers to them, and an operator's list of all. */
import { setTimeout as sleep } from 'node:timers/promises';
import { isAgentRunning, runtimeDirectory } from '@meshpass/agent/control/control';
import type { ApprovalsAnswer } from '@meshpass/agent/control-request';
import { MeshpassError, toMeshpassError } from '@meshpass/identity';
import type { ApprovalRequest } from '@meshpass/identity/approval';
import { changeApproval, fetchAgentStatus, listApprovals } from '../agent/requests.ts';
import { formatApprovalsOverview, formatRequest, readRequestId, requestAnswer } from '../approvals/text.ts';
import { defineCommand } from '../command/define.ts';
import { argument, duration, nonBlankText, type OptionsOf, text, toggle } from '../command/flag.ts';
import { type Answer, EXIT, printErrorLines } from '../command/outcome.ts';
import { AGENT_ENV, OPERATOR_ORIGIN, operatorFlags, output, STATE_ENV, TOKEN_ENV } from '../command/shared-flags.ts';
import { SessionFile } from '../login/session-file.ts';
import { createOperatorClient } from '../operator/client.ts';

const page = 'docs/access/approvals.md';

const grantArgs = { grant: argument('name of the grant; run meshpass requests to list the grants you can request') };
const requestFlags = {
  for: duration('<duration>', 'duration, such as 90s, 30m or 2h', { defaultText: 'the value in the access file' }),
  reason: nonBlankText('<text>', 'reason for the approvers and the audit log'),
  emergency: toggle(
    'take the grant immediately, without approval; another person reviews it afterwards. Requires --reason',
  ),
  wait: toggle('wait for the answer and for the grant to become active'),
  output,
};
/** How often to poll for the answer. The broker accepts one query per second from each session. */
const POLL_MS = 3_000;
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
const answering = { env: { ...AGENT_ENV, ...STATE_ENV }, page };
const notOpen = { 1: 'rejected: the request is not open, or you are not allowed to answer it' };

interface Listed {
  readonly requests: readonly ApprovalRequest[];
}

const LIST = 'meshpass approvals list';
const listed = { id: argument(`request ID, from ${LIST}`) };
const operating = { env: TOKEN_ENV, page };

export const commands = {
  request: defineCommand({
    about:
      'Once approved, or immediately with --emergency, this session has the grant until it expires. Your other workspaces do not get the grant.',
    args: grantArgs,
    flags: requestFlags,
    env: AGENT_ENV,
    exitCodes: {
      0: 'requested, or taken; with --wait: the grant is active',
      1: 'rejected; with --wait: denied, withdrawn, not answered in time, or the requesting session has ended',
    },
    examples: [
      'meshpass request payments-prod --for 1h --reason "INC-4711"',
      'meshpass request payments-prod --reason "INC-4711" --wait',
      'meshpass request payments-prod --emergency --reason "INC-4711"',
    ],
    page,
    run: request,
  }),
  requests: defineCommand({
    about: "Shows this session's requests, requests you can answer, and grants you can request.",
    flags: { withdraw: text('<id>', 'withdraw this request; the session loses its grant immediately'), output },
    env: AGENT_ENV,
    examples: ['meshpass requests', 'meshpass requests --withdraw 0123456789abcdef01234567'],
    page,
    run: async ({ withdraw }) => {
      if (withdraw !== undefined)
        return requestAnswer(
          await changeApproval({ path: '/approvals/withdraw', body: { id: readRequestId(withdraw) } }),
        );
      const overview = await listApprovals();
      const { contact } = await fetchAgentStatus();
      return { json: { ...overview, contact }, text: () => formatApprovalsOverview(overview, contact) };
    },
  }),
  approve: defineCommand({
    about: `${BY} You cannot approve your own request.`,
    args: { id: REQUEST_ID },
    flags: {
      for: duration('<duration>', 'how long the grant lasts', { defaultText: 'as requested' }),
      reason: nonBlankText('<text>', 'reason for the audit log and the requester'),
      ...answererFlags,
      output,
    },
    exitCodes: notOpen,
    examples: ['meshpass approve 0123456789abcdef01234567 --for 30m'],
    ...answering,
    run: ({ id, for: seconds, reason, ...answerer }) => {
      const body = { id: readRequestId(id), decision: 'approve', seconds, reason } as const;
      return sendAnswer({ path: '/approvals/answer', body }, answerer);
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
    exitCodes: notOpen,
    examples: ['meshpass deny 0123456789abcdef01234567 --reason "not during the freeze"'],
    ...answering,
    run: ({ id, reason, ...answerer }) =>
      sendAnswer({ path: '/approvals/answer', body: { id: readRequestId(id), decision: 'deny', reason } }, answerer),
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
    ...answering,
    run: ({ id, accept, object, reason, ...answerer }) => {
      if (accept === object) throw new MeshpassError('usage', 'Pass exactly one of --accept and --object.');
      const body = { id, decision: accept ? 'accept' : 'object', reason } as const;
      return sendAnswer({ path: '/approvals/review', body }, answerer);
    },
  }),
  list: defineCommand({
    about: 'Newest first, with the state of each request.',
    flags: { ...operatorFlags, output },
    examples: [LIST],
    ...operating,
    run: async (options) => {
      const { requests } = (await createOperatorClient(options)('GET', '/admin/approvals')) as Listed;
      const text = () => requests.map(formatRequest).join('\n') || 'No requests for approval.';
      return { json: { requests }, text };
    },
  }),
  show: defineCommand({
    about: 'Shows the requester, the grant, the reason and each answer.',
    args: listed,
    flags: { ...operatorFlags, output },
    examples: ['meshpass approvals show 0123456789abcdef01234567'],
    ...operating,
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
    args: listed,
    flags: { reason: nonBlankText('<text>', 'reason for the audit log', { required: true }), ...operatorFlags, output },
    examples: ['meshpass approvals revoke 0123456789abcdef01234567 --reason "incident resolved"'],
    ...operating,
    run: async ({ id, reason, ...options }) => {
      const order = { id: readRequestId(id, LIST), reason };
      return requestAnswer(
        (await createOperatorClient(options)('POST', '/admin/approvals/revoke', order)) as ApprovalRequest,
      );
    },
  }),
};

/**
 * Requests a grant.
 * @throws MeshpassError `usage`, `agent_not_running`, `approval_*`, `approvals_too_many`, `emergency_*`
 */
async function request(options: OptionsOf<typeof grantArgs & typeof requestFlags>): Promise<Answer> {
  const { grant, for: seconds, reason, emergency, wait, output } = options;
  let asked = await ask({ grant, seconds }, reason, emergency);
  if (wait) {
    if (output === 'text') printErrorLines(...formatRequest(asked).split('\n'));
    asked = await settled(asked);
    return { ...requestAnswer(asked), exit: asked.state === 'approved' ? EXIT.ok : EXIT.failed };
  }
  const next = `To see the ${emergency ? 'review' : 'answer'}: meshpass requests. To withdraw it: meshpass requests --withdraw ${asked.id}`;
  return { json: asked, text: () => `${formatRequest(asked)}\n${next}` };
}

function ask(
  order: { readonly grant: string; readonly seconds: number | undefined },
  reason: string | undefined,
  isEmergency: boolean,
): Promise<ApprovalRequest> {
  if (!isEmergency) return changeApproval({ path: '/approvals', body: { ...order, reason } });
  if (reason === undefined) throw new MeshpassError('usage', 'An emergency requires a reason. Add --reason.');
  return changeApproval({ path: '/approvals/emergency', body: { ...order, reason } });
}

/**
 * Waits until the request has been answered. If it is approved, also waits until this workspace has the certificate for
 * the grant. Keeps waiting even if the broker restarts.
 * @throws MeshpassError `approval_unknown` if the session that made the request has ended
 */
async function settled(asked: ApprovalRequest): Promise<ApprovalRequest> {
  for (;;) {
    const found = await look(asked);
    if (found && found.state !== 'pending' && (found.state !== 'approved' || (await isHeld(found.grant)))) return found;
    await sleep(POLL_MS);
  }
}

async function look({ id }: ApprovalRequest): Promise<ApprovalRequest | undefined> {
  let own: readonly ApprovalRequest[];
  try {
    own = (await listApprovals('own')).own;
  } catch (thrown) {
    if (toMeshpassError(thrown).retryable) return undefined;
    throw thrown;
  }
  const found = own.find((one) => one.id === id);
  if (found) return found;
  throw new MeshpassError(
    'approval_unknown',
    `The requesting session has ended, and request ${id} ended with it. Request the grant again.`,
  );
}

async function isHeld(grant: string): Promise<boolean> {
  const { credentials } = await fetchAgentStatus();
  return credentials.svids.some((one) => one.grant === grant);
}

/**
 * Sends an answer or a review. If an agent is running here and the command line does not select an operator listener,
 * it is sent on behalf of the workspace session.
 * @throws MeshpassError `agent_not_running` if no agent is running and no operator is signed in, or the error that the
 *   broker returns
 */
async function sendAnswer(
  change: ApprovalsAnswer,
  { operator, caFile }: OptionsOf<typeof answererFlags>,
): Promise<Answer> {
  if (operator === undefined && (await isAgentRunning(runtimeDirectory(process.env))))
    return requestAnswer(await changeApproval(change));
  if (operator === undefined && !new SessionFile(OPERATOR_ORIGIN).read())
    throw new MeshpassError(
      'agent_not_running',
      'No agent is running and no operator is signed in. Run meshpass up in a workspace, or meshpass login as an operator.',
    );
  const call = createOperatorClient({ operator: operator ?? OPERATOR_ORIGIN, caFile });
  return requestAnswer((await call('POST', `/admin${change.path}`, change.body)) as ApprovalRequest);
}
