/** Defines approval requests and their answers as plain data, and converts them to their API representation. */
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
  /** Every identity that the approver can be recognized by. */
  readonly identities: readonly Identity[];
  /** The approver's attestation. It is checked against the access file again whenever another approver answers. */
  readonly attestation: Attestation;
  /** How the answer was submitted: `workspace`, `operator`, `page` or `webhook NAME`. */
  readonly via: string;
  /** The entry of `by` that matches the approver, with its position in the access file. */
  readonly entry: string;
  readonly seconds: number;
  /** When the answer was given, in Unix seconds. */
  readonly at: number;
  readonly reason?: string | undefined;
  /** The id of the audit event for this answer. */
  readonly event: string;
}

/** Describes emergency access and its reviews so far. */
export interface Emergency {
  readonly state: ReviewState;
  /** The deadline for the review, in Unix seconds. */
  readonly reviewBy: number;
  /**
   * The reviewers that the access file listed at the time of the emergency. They apply if the file no longer lists any.
   */
  readonly by: readonly Who[];
  /** All reviews so far. The last one determines the state. */
  readonly reviews: readonly Review[];
}

/** A reviewer's decision. */
export interface Review extends Omit<Answer, 'decision' | 'identities' | 'attestation' | 'seconds'> {
  readonly decision: 'accept' | 'object';
  readonly reason: string;
}

/** A session's request for a grant. */
export interface GrantRequest {
  readonly id: string;
  readonly sessionId: string;
  readonly issuer: string;
  readonly subject: string;
  readonly login: string;
  readonly workspace: string;
  /** The requester's identities, as known when the request was made. */
  readonly identities: readonly Identity[];
  readonly grant: string;
  /** The requested duration in seconds, within the limits of the access file. */
  readonly seconds: number;
  readonly reason?: string | undefined;
  /** When the request was made, in Unix seconds. */
  readonly askedAt: number;
  readonly answerBy: number;
  /** How many approvers were required when the request was made. The access file in force may require more. */
  readonly needed: number;
  readonly state: ApprovalState;
  readonly answers: readonly Answer[];
  /** When the approved grant ends, in Unix seconds. */
  readonly until?: number | undefined;
  /** Only present if the grant was taken in an emergency. */
  readonly emergency?: Emergency | undefined;
}

/** Creates a request for a session of this person. It does not have any answers yet. */
export function buildRequest(
  { issuer, subject, login, workspace }: Attestation,
  made: Omit<GrantRequest, 'issuer' | 'subject' | 'login' | 'workspace' | 'answers'>,
): GrantRequest {
  return { ...made, issuer, subject, login, workspace: workspace.key, answers: [] };
}

/** A request created by emergency access. */
export type EmergencyRequest = GrantRequest & { readonly emergency: Emergency };

/** Whether the request was created by emergency access. */
export function isEmergencyRequest(request: GrantRequest): request is EmergencyRequest {
  return request.emergency !== undefined;
}

/** The states of an emergency that still needs a review. */
export const UNREVIEWED_STATES = ['open', 'overdue', 'objected'] as const satisfies readonly ReviewState[];

/** Whether the emergency still needs a review. Until it is accepted, it counts against the person who used it. */
export function needsReview({
  emergency,
}: Pick<GrantRequest, 'emergency'> | Pick<ApprovalRequest, 'emergency'>): boolean {
  return UNREVIEWED_STATES.some((state) => state === emergency?.state);
}

/** Whether the request is pending, or is approved and still in effect. */
export function isOpenRequest({ state }: GrantRequest): boolean {
  return state === 'pending' || state === 'approved';
}

/** Converts a request to its API representation. */
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
 * Returns how long a grant lasts in seconds: the requested duration, or the access file's default, but never more than
 * the access file's maximum.
 */
export function grantDurationSeconds(approval: Approval, wanted: number | undefined): number {
  return Math.min(wanted ?? approval.for, approval.max);
}
