/** An approval request and its answers as plain data, and their API representation. */
import type { Approval, Who } from '@meshpass/access';
import type { Attestation } from '@meshpass/identity';
import type { ApprovalRequest, ApprovalState, ReviewState } from '@meshpass/identity/approval';
import type { Identity } from './people.ts';

/** An approver's decision. */
export interface Answer {
  readonly decision: 'approve' | 'deny';
  readonly issuer: string;
  readonly subject: string;
  readonly login: string;
  /** All identities that distinguish the approver from others. */
  readonly identities: readonly Identity[];
  /** Attestation, which is checked against the access file again when the last approver answers. */
  readonly attestation: Attestation;
  /** Channel: `workspace`, `operator`, `page`, `webhook NAME`. */
  readonly via: string;
  /** Entry of `by` that matches the approver, with its position. */
  readonly entry: string;
  readonly seconds: number;
  /** Unix seconds. */
  readonly at: number;
  readonly reason?: string | undefined;
  /** Id of the audit event. */
  readonly event: string;
}

/** Emergency access and its reviews. */
export interface Emergency {
  readonly state: ReviewState;
  /** Review deadline, Unix seconds. */
  readonly reviewBy: number;
  /** Reviewers in the access file at the time of the emergency, used if the file later has none. */
  readonly by: readonly Who[];
  /** Reviews; the last one is decisive. */
  readonly reviews: readonly Review[];
}

/** A reviewer's decision. */
export interface Review extends Omit<Answer, 'decision' | 'identities' | 'attestation' | 'seconds'> {
  readonly decision: 'accept' | 'object';
  readonly reason: string;
}

/** A request for a grant. */
export interface GrantRequest {
  readonly id: string;
  readonly sessionId: string;
  readonly issuer: string;
  readonly subject: string;
  readonly login: string;
  readonly workspace: string;
  /** The requester's identities at the time of the request. */
  readonly identities: readonly Identity[];
  readonly grant: string;
  /** Requested duration within the limits of the access file, seconds. */
  readonly seconds: number;
  readonly reason?: string | undefined;
  /** Unix seconds. */
  readonly askedAt: number;
  readonly answerBy: number;
  /** Required number of approvers at the time of the request. The access file in force may require more. */
  readonly needed: number;
  readonly state: ApprovalState;
  readonly answers: readonly Answer[];
  /** End of the approved grant, Unix seconds. */
  readonly until?: number | undefined;
  /** Present for emergency access. */
  readonly emergency?: Emergency | undefined;
}

/** Creates a request for this person's session. It has no answers yet. */
export function buildRequest(
  { issuer, subject, login, workspace }: Attestation,
  made: Omit<GrantRequest, 'issuer' | 'subject' | 'login' | 'workspace' | 'answers'>,
): GrantRequest {
  return { ...made, issuer, subject, login, workspace: workspace.key, answers: [] };
}

/** Request for emergency access. */
export type EmergencyRequest = GrantRequest & { readonly emergency: Emergency };

/** Whether the request is for emergency access. */
export function isEmergencyRequest(request: GrantRequest): request is EmergencyRequest {
  return request.emergency !== undefined;
}

/** States of an emergency that still needs a review. */
export const UNREVIEWED_STATES = ['open', 'overdue', 'objected'] as const satisfies readonly ReviewState[];

/** Whether the emergency still needs a review. Until it is reviewed, it counts against the person who used it. */
export function needsReview({
  emergency,
}: Pick<GrantRequest, 'emergency'> | Pick<ApprovalRequest, 'emergency'>): boolean {
  return UNREVIEWED_STATES.some((state) => state === emergency?.state);
}

/** Whether the request is pending, or approved and in effect. */
export function isOpenRequest({ state }: GrantRequest): boolean {
  return state === 'pending' || state === 'approved';
}

/** Returns the API representation of a request. */
export function describeRequest(request: GrantRequest, opens: ApprovalRequest['opens']): ApprovalRequest {
  const { id, grant, state, sessionId, issuer, subject, login, workspace, seconds, reason, needed, until } = request;
  const { emergency } = request;
  return {
    id,
    grant,
    state,
    session: sessionId,
    person: { issuer, subject, login },
    workspace,
    seconds,
    opens,
    reason,
    asked_at: request.askedAt,
    answer_by: request.answerBy,
    needed,
    answers: request.answers.map(describeDecision),
    until,
    emergency: emergency && {
      state: emergency.state,
      review_by: emergency.reviewBy,
      reviews: emergency.reviews.map(describeDecision),
    },
  };
}

function describeDecision<One extends Answer | Review>(one: One) {
  const { decision, issuer, subject, login, via, at, reason } = one;
  return { decision, issuer, subject, login, via, at, reason } as Pick<
    One,
    'decision' | 'issuer' | 'subject' | 'login' | 'via' | 'at' | 'reason'
  >;
}

/**
 * Returns a grant's duration in seconds: the requested duration or the access file's default, capped at the access
 * file's maximum.
 */
export function grantDurationSeconds(approval: Approval, wanted: number | undefined): number {
  return Math.min(wanted ?? approval.for, approval.max);
}
