/** Requests for approval as people read them. */

import type {
  ApprovalRequest,
  ApprovalsResponse,
  EmergencyReview,
  RequestableGrant,
} from '@meshpass/identity/approval';
import { MeshpassError } from '@meshpass/identity/error';
import { durationText } from '@meshpass/identity/text';

/** One line, and one for each answer and review. @param now Unix seconds */
export function requestText(request: ApprovalRequest, now: number): string {
  const { id, grant, person, seconds, reason, answers, needed, emergency } = request;
  const given = answers.filter(({ decision }) => decision === 'approve').length;
  const state = {
    pending: `waits for ${needed - given === 1 ? 'an approval' : `${needed - given} approvals`}, until ${clock(request.answer_by)}`,
    approved: `${emergency ? 'taken in an emergency' : 'approved'} until ${clock(request.until ?? now)}`,
    denied: 'denied',
    withdrawn: 'withdrawn',
    expired: 'not answered in time',
    ended: emergency ? 'taken in an emergency, over' : 'over',
    revoked: 'taken back',
  }[request.state];
  return [
    `${id}  ${grant} for ${durationText(seconds)}, ${person.login} (${person.issuer}): ${state}${reason === undefined ? '' : ` - ${reason}`}`,
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
    open: [`  to be reviewed by somebody else until ${clock(by)}`],
    overdue: [`  should have been reviewed until ${clock(by)}, and still has to be`],
    ...{ accepted: [], objected: [] },
    void: ['  was not given after all'],
  }[state];
  return [
    ...reviews.map(
      (one) =>
        `  ${one.decision === 'accept' ? 'accepted' : 'objected to'} by ${one.login} (${one.issuer}) at ${clock(one.at)}: ${one.reason}`,
    ),
    ...waits,
  ];
}

/** @param now Unix seconds */
export function overviewText(overview: ApprovalsResponse, now: number): string {
  const { requestable, own, to_answer: toAnswer, to_review: toReview, incomplete } = overview;
  const lines = (title: string, all: readonly string[]) => (all.length === 0 ? [] : [title, ...all]);
  const text = [
    ...lines(
      'Your requests:',
      own.map((one) => requestText(one, now)),
    ),
    ...lines(
      'Requests that you may answer (meshpass approve ID, meshpass deny ID):',
      toAnswer.map((one) => requestText(one, now)),
    ),
    ...lines(
      'Emergencies to review (meshpass review ID --accept, or --object):',
      toReview.map((one) => requestText(one, now)),
    ),
    ...(incomplete === undefined ? [] : [incomplete]),
    ...offersText(requestable),
  ];
  return text.length === 0 ? 'No requests, and no grant that you could ask for.' : text.join('\n');
}

/** What `status`, `up` and `explain` say of grants that could be asked for. */
export function offersText(offers: readonly RequestableGrant[]): readonly string[] {
  return offers.length === 0 ? [] : ['You can ask for:', ...offers.map(requestableText)];
}

/** Whether a grant opens the port of a call: what of it is for the access file to say. */
export function opens(
  one: RequestableGrant,
  { host, port }: { readonly host: string; readonly port: number },
): boolean {
  return (one.opens ?? []).some((to) => to.port === port && (to.host === host || to.host.startsWith(`${host}.`)));
}

export function requestableText(offer: RequestableGrant): string {
  const { grant, approval, seconds, reason_required: reason, emergency } = offer;
  const asked = `  ${grant}, with ${approval}: meshpass request ${grant} --for ${durationText(seconds)}${reason ? ' --reason "WHY"' : ''}`;
  if (!emergency) return asked;
  const how = emergency.barred ?? `${emergency.review}: meshpass request ${grant} --emergency --reason "WHY"`;
  return `${asked}\n    in an emergency without it, ${emergency.barred === undefined ? '' : 'not now. '}${how}`;
}

/**
 * `90s`, `10m`, `8h`.
 * @returns seconds
 * @throws MeshpassError `usage`
 */
export function readDuration(text: string, flag: string): number {
  const match = /^([1-9][0-9]{0,5})([smh])$/.exec(text);
  if (!match) throw new MeshpassError('usage', `${flag} is a duration such as 90s, 30m or 2h, not ${text}.`);
  return Number(match[1]) * { s: 1, m: 60, h: 3600 }[match[2] as 's' | 'm' | 'h'];
}

function clock(unixSeconds: number): string {
  return new Date(unixSeconds * 1000).toISOString().replace('T', ' ').replace('.000Z', ' UTC');
}
