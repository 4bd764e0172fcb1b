/** Formats approval requests as text. */

import { formatDuration, MeshpassError } from '@meshpass/identity';
import type {
  ApprovalRequest,
  ApprovalsResponse,
  EmergencyReview,
  RequestableGrant,
} from '@meshpass/identity/approval';
import type { Answer } from '../command/outcome.ts';

/** Builds the command's answer from an approval request. */
export function requestAnswer(request: ApprovalRequest): Answer {
  return { json: request, text: () => formatRequest(request) };
}

/** Formats an approval request as one line, followed by a line for each answer and each review. */
export function formatRequest(request: ApprovalRequest): string {
  const { id, grant, person, seconds, reason, answers, needed, emergency } = request;
  const given = answers.filter(({ decision }) => decision === 'approve').length;
  const state = {
    pending: `waiting for ${needed - given === 1 ? 'an approval' : `${needed - given} approvals`} until ${clock(request.answer_by)}`,
    approved: `${emergency ? 'granted in an emergency' : 'approved'}${request.until === undefined ? '' : ` until ${clock(request.until)}`}`,
    denied: 'denied',
    withdrawn: 'withdrawn',
    expired: 'not answered in time',
    ended: emergency ? 'granted in an emergency, ended' : 'ended',
    revoked: 'revoked',
  }[request.state];
  return [
    `${id}  ${grant} for ${formatDuration(seconds)}, ${person.login} (${person.issuer}): ${state}${reason === undefined ? '' : ` - ${reason}`}`,
    ...answers.map(
      (one) =>
        `  ${one.decision === 'approve' ? 'approved' : 'denied'} by ${one.login} (${one.issuer}) at ${clock(one.at)}` +
        `${one.reason === undefined ? '' : `: ${one.reason}`}`,
    ),
    ...(emergency ? reviewLines(emergency) : []),
  ].join('\n');
}

function reviewLines({ state, review_by: by, reviews }: EmergencyReview): readonly string[] {
  const waits = {
    open: [`  awaiting review by another person until ${clock(by)}`],
    overdue: [`  review overdue since ${clock(by)}`],
    accepted: [],
    objected: [],
    void: ['  the grant never took effect'],
  }[state];
  return [
    ...reviews.map(
      (one) =>
        `  ${one.decision === 'accept' ? 'accepted' : 'objected to'} by ${one.login} (${one.issuer}) at ${clock(one.at)}: ${one.reason}`,
    ),
    ...waits,
  ];
}

/**
 * Formats the overview that `meshpass requests` prints.
 * @param contact the contact for access requests, if the access file defines one
 */
export function formatApprovalsOverview(overview: ApprovalsResponse, contact?: string): string {
  const { requestable, own, to_answer: toAnswer, to_review: toReview, incomplete } = overview;
  const lines = (title: string, all: readonly ApprovalRequest[]) =>
    all.length === 0 ? [] : [title, ...all.map(formatRequest)];
  const text = [
    ...lines('Your requests:', own),
    ...lines('Requests you can answer (meshpass approve ID, meshpass deny ID):', toAnswer),
    ...lines('Emergencies to review (meshpass review ID --accept, or --object):', toReview),
    ...(incomplete === undefined ? [] : [incomplete]),
    ...formatRequestableGrants(requestable),
  ];
  if (text.length > 0) return text.join('\n');
  return `No requests, and no grants you can request.${contact === undefined ? '' : ` For access, ask ${contact}.`}`;
}

/** Formats the grants that can be requested, for the output of `status`, `up` and `explain`. */
export function formatRequestableGrants(offers: readonly RequestableGrant[]): readonly string[] {
  return offers.length === 0 ? [] : ['You can request:', ...offers.map(formatRequestableGrant)];
}

/**
 * Whether a grant opens the port that a call uses. The access file still determines which requests on that port are
 * allowed.
 */
export function opensPort(
  one: RequestableGrant,
  { host, port }: { readonly host: string; readonly port: number },
): boolean {
  return (one.opens ?? []).some((to) => to.port === port && (to.host === host || to.host.startsWith(`${host}.`)));
}

/** Formats a grant that can be requested, together with the command to request it. */
export function formatRequestableGrant(offer: RequestableGrant): string {
  const { grant, approval, seconds, reason_required: reason, emergency } = offer;
  const asked = `  ${grant}, with ${approval}: meshpass request ${grant} --for ${formatDuration(seconds)}${reason ? ' --reason "WHY"' : ''}`;
  if (!emergency) return asked;
  const how = emergency.barred ?? `${emergency.review}: meshpass request ${grant} --emergency --reason "WHY"`;
  return `${asked}\n    in an emergency, without approval: ${emergency.barred === undefined ? '' : 'not now. '}${how}`;
}

function clock(unixSeconds: number): string {
  return new Date(unixSeconds * 1000).toISOString().replace('T', ' ').replace('.000Z', ' UTC');
}

/**
 * Validates the ID of an approval request.
 * @param list the command that lists the IDs, for the error message
 * @throws MeshpassError `usage`
 */
export function readRequestId(id: string, list = 'meshpass requests'): string {
  if (/^[0-9a-f]{24}$/.test(id)) return id;
  throw new MeshpassError('usage', `"${id}" is not a request ID (24 characters). Run ${list} to list the IDs.`);
}
