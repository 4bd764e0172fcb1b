/** Wire schemas for approval requests, which workspaces, agents and the broker share. See docs/access/approvals.md. */
import { z } from 'zod';
import { dnsName, grant, port, text, unixSeconds } from './schema/fields.ts';

const duration = z.number().int().positive().max(43_200);

export const ApprovalSeconds = duration;
/** The id of a request, which consists of 24 random hexadecimal digits. */
export const ApprovalId = z.string().regex(/^[0-9a-f]{24}$/, 'is not a valid request id');
/** The reason that a person gives for a request or an answer. */
const ApprovalReason = text(300).refine((reason) => reason.trim() !== '', 'must not be empty');

export const ApprovalState = z.enum([
  /** The request is waiting for answers. */
  'pending',
  /** The request was approved, and the grant is active. */
  'approved',
  'denied',
  /** The requester withdrew the request. */
  'withdrawn',
  /** The deadline for answers passed, or the session ended before it was answered. */
  'expired',
  /** The approved period or the session has ended. */
  'ended',
  /** An approver revoked the grant. */
  'revoked',
]);
export type ApprovalState = z.infer<typeof ApprovalState>;

/** The request body of `POST /approvals`. */
export const ApprovalRequestBody = z.strictObject({
  grant,
  /** The duration in seconds. Defaults to the value in the access file. */
  seconds: duration.optional(),
  reason: ApprovalReason.optional(),
});
export type ApprovalRequestBody = z.infer<typeof ApprovalRequestBody>;

/**
 * The request body of `POST /approvals/emergency`. The grant becomes active immediately and without approval, and is
 * reviewed afterwards.
 */
export const EmergencyAccessBody = z.strictObject({
  grant,
  /** The duration in seconds. The value in the access file is both the default and the maximum. */
  seconds: duration.optional(),
  reason: ApprovalReason,
});
export type EmergencyAccessBody = z.infer<typeof EmergencyAccessBody>;

/** The request body of `POST /approvals/review`. */
export const ApprovalReviewBody = z.strictObject({
  id: ApprovalId,
  /**
   * The reviewer's decision. `object` means that the grant should not have been used. If it is still active, it ends
   * immediately.
   */
  decision: z.enum(['accept', 'object']),
  reason: ApprovalReason,
});
export type ApprovalReviewBody = z.infer<typeof ApprovalReviewBody>;

/** The request body of `POST /approvals/withdraw`. */
export const ApprovalWithdrawBody = z.strictObject({ id: ApprovalId });

/** The request body of `POST /approvals/answer`. */
export const ApprovalAnswerBody = z.strictObject({
  id: ApprovalId,
  decision: z.enum(['approve', 'deny']),
  /** The duration in seconds that the approver sets instead of the requested duration. */
  seconds: duration.optional(),
  reason: ApprovalReason.optional(),
});
export type ApprovalAnswerBody = z.infer<typeof ApprovalAnswerBody>;

/** The maximum number of ports that are listed for a grant. */
export const MAX_OPENED_PORTS = 50;
const opens = z
  .array(
    z.object({
      host: dnsName,
      port,
      /** The allowed operations. Absent if the whole port is granted. */
      allow: z.array(text(4_096)).max(500).optional(),
    }),
  )
  .max(MAX_OPENED_PORTS);

const person = z.object({ issuer: text(256), subject: text(1_024), login: text(256) });

const ApprovalAnswer = person.extend({
  decision: z.enum(['approve', 'deny']),
  /** The channel that the answer arrived through. */
  via: text(64),
  at: unixSeconds,
  reason: text(300).optional(),
});

export const ReviewState = z.enum([
  /** The grant is waiting for a review. */
  'open',
  /** The deadline has passed, but a review is still accepted. */
  'overdue',
  'accepted',
  'objected',
]);
export type ReviewState = z.infer<typeof ReviewState>;

/** The review of a grant that was activated in an emergency, without approval. */
export const EmergencyReview = z.object({
  state: ReviewState,
  /** The deadline for the review, in Unix seconds. */
  review_by: unixSeconds,
  /** All reviews, oldest first. The last one is decisive. */
  reviews: z
    .array(
      person.extend({
        decision: z.enum(['accept', 'object']),
        via: text(64),
        at: unixSeconds,
        reason: text(300),
      }),
    )
    .max(100),
});
export type EmergencyReview = z.infer<typeof EmergencyReview>;

export const ApprovalRequest = z.object({
  id: ApprovalId,
  grant,
  state: ApprovalState,
  /** The session that requested the grant. No other session receives it. */
  session: text(128),
  person,
  workspace: text(1_024),
  /** The ports that the grant opens. Absent if the list would be too long. */
  opens: opens.optional(),
  seconds: duration,
  reason: text(300).optional(),
  asked_at: unixSeconds,
  /** The deadline for answers, in Unix seconds. */
  answer_by: unixSeconds,
  /** The number of people who must approve the request. */
  needed: z.number().int().positive().max(100),
  answers: z.array(ApprovalAnswer).max(100),
  /** When the approved grant ends, in Unix seconds. */
  until: unixSeconds.optional(),
  /** Present if the grant was activated in an emergency, without approval. */
  emergency: EmergencyReview.optional(),
});
export type ApprovalRequest = z.infer<typeof ApprovalRequest>;

export const RequestableGrant = z.object({
  grant,
  /** Describes who has to approve a request. */
  approval: text(4_096),
  /** The ports that the grant opens. Absent if the list would be too long. */
  opens: opens.optional(),
  seconds: duration,
  longest: duration,
  reason_required: z.boolean(),
  /** Present if the developer may activate the grant in an emergency. */
  emergency: z
    .object({
      longest: duration,
      /** Describes who has to review the emergency access, and by when. */
      review: text(4_096),
      /** The reason why the developer cannot currently use emergency access. Absent if they can. */
      barred: text(1_024).optional(),
    })
    .optional(),
});
export type RequestableGrant = z.infer<typeof RequestableGrant>;

/** The response to `GET /approvals` for a session. */
export const ApprovalsResponse = z.object({
  /** The grants that the session may request. */
  requestable: z.array(RequestableGrant).max(1_000),
  /** The session's own requests, newest first. */
  own: z.array(ApprovalRequest).max(100),
  /** Requests of other sessions that this developer may answer. */
  to_answer: z.array(ApprovalRequest).max(1_000),
  /** Emergency grants of other sessions that this developer may review. */
  to_review: z.array(ApprovalRequest).max(1_000).default([]),
  /** The reason why `to_answer` and `to_review` might be incomplete. Absent if they are complete. */
  incomplete: text(1_024).optional(),
});
export type ApprovalsResponse = z.infer<typeof ApprovalsResponse>;
