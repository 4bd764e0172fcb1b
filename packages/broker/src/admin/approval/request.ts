/** Defines approval requests and their answers as plain data, and converts them to their API representation. */
import type { Approval, Who } from '@meshpass/access';
import { type Attestation, MeshpassError } from '@meshpass/identity';
import type { ApprovalRequest, EmergencyReview, ReviewState } from '@meshpass/identity/approval';
import type { Identity } from './people.ts';

/** An approver's decision. */
export interface Answer extends Readonly<ApprovalRequest['answers'][number]> {
  /** Every identity that the approver can be recognized by. */
  readonly identities: readonly Identity[];
  /** The approver's attestation. It is checked against the access file again whenever another approver answers. */
  readonly attestation: Attestation;
  /** The entry of `by` that matches the approver, with its position in the access file. */
  readonly entry: string;
  readonly seconds: number;
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
export type Review = Readonly<EmergencyReview['reviews'][number]> & Pick<Answer, 'entry' | 'event'>;

/**
 * A session's request for a grant. These are the members of its API representation, together with those that the API
 * does not show. More approvers than `needed` may be required by the access file in force.
 */
export interface GrantRequest extends Readonly<Omit<ApprovalRequest, 'opens' | 'answers' | 'emergency'>> {
  /** The requester's identities, as known when the request was made. */
  readonly identities: readonly Identity[];
  readonly answers: readonly Answer[];
  /** Only present if the grant was taken in an emergency. */
  readonly emergency?: Emergency | undefined;
}

/** Creates a request for a session of this person. It does not have any answers yet. */
export function buildRequest(
  { issuer, subject, login, workspace }: Attestation,
  made: Omit<GrantRequest, 'person' | 'workspace' | 'answers'>,
): GrantRequest {
  return { ...made, person: { issuer, subject, login }, workspace: workspace.key, answers: [] };
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
  const { identities: _, emergency, answers, ...shown } = request;
  return {
    ...shown,
    opens,
    answers: answers.map(describeDecision),
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

/** Creates the error for an id that does not refer to an open request. */
export function unknown(id: string): MeshpassError {
  return new MeshpassError(
    'approval_unknown',
    `There is no open request ${id}. It may have been answered or have ended.`,
  );
}
