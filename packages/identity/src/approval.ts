/** What is said of requests for approval: by workspaces, their agents and the broker. docs/access/approvals.md is the prose of this file. */
import { z } from 'zod';
import { isDnsLabel } from './spiffe.ts';
import { isPlainText } from './text.ts';

const unixSeconds = z.number().int().nonnegative().max(253_402_300_799);
const duration = z.number().int().positive().max(43_200);
const text = (longest: number) => z.string().max(longest).refine(isPlainText, 'has control characters');
const grant = z.string().refine(isDnsLabel, 'is not the name of a grant');

export const ApprovalSeconds = duration;
/** Id of a request: 24 hexadecimal digits, drawn at random. */
export const ApprovalId = z.string().regex(/^[0-9a-f]{24}$/, 'is not the id of a request');
/** Why somebody asks, or answers. */
export const ApprovalReason = text(300).refine((reason) => reason.trim() !== '', 'must not be empty');

export const ApprovalState = z.enum([
  /** Waits for answers. */
  'pending',
  /** The grant is given. */
  'approved',
  'denied',
  /** By whoever asked. */
  'withdrawn',
  /** Nobody answered in time, or the session ended first. */
  'expired',
  /** The time for which it was given has passed, or the session has ended. */
  'ended',
  /** Taken back by an approver. */
  'revoked',
]);
export type ApprovalState = z.infer<typeof ApprovalState>;

/** `POST /approvals`. */
export const ApprovalOrder = z.strictObject({
  grant,
  /** How long; what the access file says where absent. */
  seconds: duration.optional(),
  reason: ApprovalReason.optional(),
});
export type ApprovalOrder = z.infer<typeof ApprovalOrder>;

/** `POST /approvals/emergency`: the grant is given at once, without an approval, and reviewed afterwards. */
export const EmergencyOrder = z.strictObject({
  grant,
  /** How long; what the access file says where absent, and at most. */
  seconds: duration.optional(),
  reason: ApprovalReason,
});
export type EmergencyOrder = z.infer<typeof EmergencyOrder>;

/** `POST /approvals/review`. */
export const ReviewOrder = z.strictObject({
  id: ApprovalId,
  /** `object`: it was not right to take it. While the grant is held, it is lost at once. */
  decision: z.enum(['accept', 'object']),
  reason: ApprovalReason,
});
export type ReviewOrder = z.infer<typeof ReviewOrder>;

/** `POST /approvals/withdraw`. */
export const WithdrawOrder = z.strictObject({ id: ApprovalId });

/** `POST /approvals/answer`. */
export const AnswerOrder = z.strictObject({
  id: ApprovalId,
  decision: z.enum(['approve', 'deny']),
  /** Of the approval, where it is to be another time than was asked for. */
  seconds: duration.optional(),
  reason: ApprovalReason.optional(),
});
export type AnswerOrder = z.infer<typeof AnswerOrder>;

/** Ports that a grant opens: the first of them, where it has many. */
export const MAX_OPENS = 50;
const opens = z
  .array(
    z.object({
      host: z.string().min(1).max(253),
      port: z.number().int().min(1).max(65_535),
      /** Operations; absent: the whole port. */
      allow: z.array(text(4_096)).max(500).optional(),
    }),
  )
  .max(MAX_OPENS);

const person = z.object({ issuer: text(256), subject: text(1_024), login: text(256) });

export const ApprovalAnswer = person.extend({
  decision: z.enum(['approve', 'deny']),
  /** How it came. */
  via: text(64),
  at: unixSeconds,
  reason: text(300).optional(),
});

export const ReviewState = z.enum([
  /** Waits for a review. */
  'open',
  /** Nobody has reviewed it in time; it waits still. */
  'overdue',
  'accepted',
  'objected',
  /** There is nothing to review: the grant was not given after all. */
  'void',
]);
export type ReviewState = z.infer<typeof ReviewState>;

/** Of a grant that somebody has taken without an approval. */
export const EmergencyReview = z.object({
  state: ReviewState,
  /** It is overdue after that. */
  review_by: unixSeconds,
  /** Each review, the last one decides. */
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
  /** Session that asked, and that alone gets the grant. */
  session: text(128),
  person,
  workspace: text(1_024),
  /** Ports of the grant; absent where a list would become too long. */
  opens: opens.optional(),
  seconds: duration,
  reason: text(300).optional(),
  asked_at: unixSeconds,
  /** It waits for answers until then. */
  answer_by: unixSeconds,
  /** People who must approve. */
  needed: z.number().int().positive().max(100),
  answers: z.array(ApprovalAnswer).max(100),
  /** End of the grant, once approved. */
  until: unixSeconds.optional(),
  /** Present: it was taken in an emergency, and nobody approved it. */
  emergency: EmergencyReview.optional(),
});
export type ApprovalRequest = z.infer<typeof ApprovalRequest>;

export const RequestableGrant = z.object({
  grant,
  /** Who must approve, in words. */
  approval: text(4_096),
  /** Absent where the list would become too long. */
  opens: opens.optional(),
  seconds: duration,
  longest: duration,
  reason_required: z.boolean(),
  /** Present: its developer may take it in an emergency. */
  emergency: z
    .object({
      longest: duration,
      /** Who reviews it, and until when, in words. */
      review: text(4_096),
      /** Why they may not now, in words; absent where they may. */
      barred: text(1_024).optional(),
    })
    .optional(),
});
export type RequestableGrant = z.infer<typeof RequestableGrant>;

/** Answer of `GET /approvals` to a session. */
export const ApprovalsResponse = z.object({
  /** What it could ask for. */
  requestable: z.array(RequestableGrant).max(1_000),
  /** Its own requests, the newest first. */
  own: z.array(ApprovalRequest).max(100),
  /** Requests of others that wait for its developer's answer. */
  to_answer: z.array(ApprovalRequest).max(1_000),
  /** Emergencies of others that its developer may review. */
  to_review: z.array(ApprovalRequest).max(1_000).default([]),
  /** Why `to_answer` and `to_review` may lack some, in words; absent where they have all. */
  incomplete: text(1_024).optional(),
});
export type ApprovalsResponse = z.infer<typeof ApprovalsResponse>;
