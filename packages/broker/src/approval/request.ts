/** A request for approval and its answers, as plain data; and what of it the API tells. */
import type { Approval, Who } from '@meshpass/access';
import type { Attestation } from '@meshpass/identity';
import type { ApprovalRequest, ApprovalState, ReviewState } from '@meshpass/identity/approval';
import type { Identity } from './people.ts';

export interface Answer {
  readonly decision: 'approve' | 'deny';
  readonly issuer: string;
  readonly subject: string;
  readonly login: string;
  /** All by which the approver can be told from somebody else. */
  readonly identities: readonly Identity[];
  /** By which the approver is held against the access file again, when the last one answers. */
  readonly attestation: Attestation;
  /** How it came: `workspace`, `operator`, `page`, `webhook NAME`. */
  readonly via: string;
  /** Entry of `by` that named them, with its place. */
  readonly entry: string;
  readonly seconds: number;
  /** Unix seconds. */
  readonly at: number;
  readonly reason?: string | undefined;
  /** Id of the audit event. */
  readonly event: string;
}

/** What was taken without an approval, and what others say of it afterwards. */
export interface Emergency {
  readonly state: ReviewState;
  /** Unix seconds; it is overdue after that. */
  readonly reviewBy: number;
  /** Who may review it by the access file of when it was taken, for when the file names nobody any more. */
  readonly by: readonly Who[];
  /** The last one decides. */
  readonly reviews: readonly Review[];
}

export interface Review extends Omit<Answer, 'decision' | 'identities' | 'attestation' | 'seconds'> {
  readonly decision: 'accept' | 'object';
  readonly reason: string;
}

export interface Request {
  readonly id: string;
  readonly sessionId: string;
  readonly issuer: string;
  readonly subject: string;
  readonly login: string;
  readonly workspace: string;
  /** Of whoever asked, when they did. */
  readonly identities: readonly Identity[];
  readonly grant: string;
  /** Wanted, within the bounds of the access file. */
  readonly seconds: number;
  readonly reason?: string | undefined;
  /** Unix seconds. */
  readonly askedAt: number;
  readonly answerBy: number;
  /** People who must approve, when it was asked; the access file in force may have made it more since. */
  readonly needed: number;
  readonly state: ApprovalState;
  readonly answers: readonly Answer[];
  /** End of what was approved, Unix seconds. */
  readonly until?: number | undefined;
  /** Present: it was taken in an emergency. */
  readonly emergency?: Emergency | undefined;
}

export type EmergencyRequest = Request & { readonly emergency: Emergency };

export function isTaken(request: Request): request is EmergencyRequest {
  return request.emergency !== undefined;
}

/** Somebody has to say something of it: until they do, whoever took it is held by it. */
export function needsReview({ emergency }: Pick<Request, 'emergency'>): boolean {
  return emergency !== undefined && ['open', 'overdue', 'objected'].includes(emergency.state);
}

export function isOpen({ state }: Request): boolean {
  return state === 'pending' || state === 'approved';
}

/** What the API tells of a request. */
export function describeRequest(request: Request, opens: ApprovalRequest['opens']): ApprovalRequest {
  const { id, grant, state, sessionId, issuer, subject, login, workspace, seconds, reason, needed, until } = request;
  return {
    ...{ id, grant, state, session: sessionId, person: { issuer, subject, login }, workspace, seconds },
    ...(opens && { opens }),
    ...(reason !== undefined && { reason }),
    ...{ asked_at: request.askedAt, answer_by: request.answerBy, needed },
    answers: request.answers.map((answer) => ({
      ...{ decision: answer.decision, issuer: answer.issuer, subject: answer.subject, login: answer.login },
      ...{ via: answer.via, at: answer.at, ...(answer.reason !== undefined && { reason: answer.reason }) },
    })),
    ...(until !== undefined && { until }),
    ...(request.emergency && { emergency: describeEmergency(request.emergency) }),
  };
}

function describeEmergency({ state, reviewBy, reviews }: Emergency): NonNullable<ApprovalRequest['emergency']> {
  return {
    ...{ state, review_by: reviewBy },
    reviews: reviews.map(({ decision, issuer, subject, login, via, at, reason }) => ({
      ...{ decision, issuer, subject, login, via, at, reason },
    })),
  };
}

/** How long a grant is given: what was asked for, or what the access file says, and never more than that allows. */
export function boundedSeconds(approval: Approval, wanted: number | undefined): number {
  return Math.min(wanted ?? approval.for, approval.max);
}
