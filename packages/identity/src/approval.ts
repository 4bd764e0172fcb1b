/** Wire schemas for approval requests, shared by workspaces, agents and the broker. See docs/access/approvals.md. */
import { z } from 'zod';
import { grant, port, text, unixSeconds } from './schema/fields.ts';

const duration = z.number().int().positive().max(43_200);

export const ApprovalSeconds = duration;
/** Request id: 24 random hexadecimal digits. */
export const ApprovalId = z.string().regex(/^[0-9a-f]{24}$/, 'is not a valid request id');
/** Reason given for a request or an answer. */
export const ApprovalReason = text(300).refine((reason) => reason.trim() !== '', 'must not be empty');

export const ApprovalState = z.enum([
  /** Waiting for answers. */
  'pending',
  /** The grant is active. */
  'approved',
  'denied',
  /** Withdrawn by the requester. */
  'withdrawn',
  /** The answer deadline passed, or the session ended first. */
  'expired',
  /** The approved period or the session has ended. */
  'ended',
  /** Revoked by an approver. */
  'revoked',
]);
export type ApprovalState = z.infer<typeof ApprovalState>;

/** Body of `POST /approvals`. */
export const ApprovalRequestBody = z.strictObject({
  grant,
  /** Duration in seconds. Defaults to the value in the access file. */
  seconds: duration.optional(),
  reason: ApprovalReason.optional(),
});
export type ApprovalRequestBody = z.infer<typeof ApprovalRequestBody>;

/**
 * Body of `POST /approvals/emergency`. The grant becomes active immediately, without approval, and is reviewed
 * afterwards.
 */
export const EmergencyAccessBody = z.strictObject({
  grant,
  /** Duration in seconds. Defaults to, and is capped by, the access file's value. */
  seconds: duration.optional(),
  reason: ApprovalReason,
});
export type EmergencyAccessBody = z.infer<typeof EmergencyAccessBody>;

/** Body of `POST /approvals/review`. */
export const ApprovalReviewBody = z.strictObject({
  id: ApprovalId,
  /** `object` rejects the use of the emergency grant. A grant that is still active ends immediately. */
  decision: z.enum(['accept', 'object']),
  reason: ApprovalReason,
});
export type ApprovalReviewBody = z.infer<typeof ApprovalReviewBody>;

/** Body of `POST /approvals/withdraw`. */
export const ApprovalWithdrawBody = z.strictObject({ id: ApprovalId });

/** Body of `POST /approvals/answer`. */
export const ApprovalAnswerBody = z.strictObject({
  id: ApprovalId,
  decision: z.enum(['approve', 'deny']),
  /** Duration in seconds that the approver sets instead of the requested one. */
  seconds: duration.optional(),
  reason: ApprovalReason.optional(),
});
export type ApprovalAnswerBody = z.infer<typeof ApprovalAnswerBody>;

/** Maximum number of ports listed for a grant. */
export const MAX_OPENED_PORTS = 50;
const opens = z
  .array(
    z.object({
      host: z.string().min(1).max(253),
      port,
      /** Allowed operations. Absent if the whole port is granted. */
      allow: z.array(text(4_096)).max(500).optional(),
    }),
  )
  .max(MAX_OPENED_PORTS);

const person = z.object({ issuer: text(256), subject: text(1_024), login: text(256) });

const ApprovalAnswer = person.extend({
  decision: z.enum(['approve', 'deny']),
  /** Channel through which the answer arrived. */
  via: text(64),
  at: unixSeconds,
  reason: text(300).optional(),
});

export const ReviewState = z.enum([
  /** Waiting for a review. */
  'open',
  /** The deadline has passed, but a review is still accepted. */
  'overdue',
  'accepted',
  'objected',
]);
export type ReviewState = z.infer<typeof ReviewState>;

/** Review of a grant that was activated in an emergency, without approval. */
export const EmergencyReview = z.object({
  state: ReviewState,
  /** Review deadline, Unix seconds. */
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
  /** Session that requested the grant, and the only one that receives it. */
  session: text(128),
  person,
  workspace: text(1_024),
  /** Ports that the grant opens. Absent if the list would be too long. */
  opens: opens.optional(),
  seconds: duration,
  reason: text(300).optional(),
  asked_at: unixSeconds,
  /** Deadline for answers, Unix seconds. */
  answer_by: unixSeconds,
  /** Number of people who must approve. */
  needed: z.number().int().positive().max(100),
  answers: z.array(ApprovalAnswer).max(100),
  /** When the approved grant ends, Unix seconds. */
  until: unixSeconds.optional(),
  /** Present if the grant was activated in an emergency, without approval. */
  emergency: EmergencyReview.optional(),
});
export type ApprovalRequest = z.infer<typeof ApprovalRequest>;

export const RequestableGrant = z.object({
  grant,
  /** Description of the required approvers. */
  approval: text(4_096),
  /** Absent if the list would be too long. */
  opens: opens.optional(),
  seconds: duration,
  longest: duration,
  reason_required: z.boolean(),
  /** Present if the developer may activate the grant in an emergency. */
  emergency: z
    .object({
      longest: duration,
      /** Description of the reviewers and the review deadline. */
      review: text(4_096),
      /** Reason that emergency access is currently unavailable to the developer. Absent if it is available. */
      barred: text(1_024).optional(),
    })
    .optional(),
});
export type RequestableGrant = z.infer<typeof RequestableGrant>;

/** Response of `GET /approvals` to a session. */
export const ApprovalsResponse = z.object({
  /** Grants that the session may request. */
  requestable: z.array(RequestableGrant).max(1_000),
  /** The session's own requests, newest first. */
  own: z.array(ApprovalRequest).max(100),
  /** Other sessions' requests that this developer may answer. */
  to_answer: z.array(ApprovalRequest).max(1_000),
  /** Other sessions' emergency grants that this developer may review. */
  to_review: z.array(ApprovalRequest).max(1_000).default([]),
  /** Reason that `to_answer` and `to_review` may be incomplete. Absent if they are complete. */
  incomplete: text(1_024).optional(),
});
export type ApprovalsResponse = z.infer<typeof ApprovalsResponse>;
