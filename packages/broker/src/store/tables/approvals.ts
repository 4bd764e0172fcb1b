/** Approval requests and webhook messages about them. */

/** Tables of approvals. */
export const APPROVAL_TABLES = {
  /** Approval requests (admin/approval/request.ts). */
  approval_requests: {
    id: 'text primary key',
    session_id: 'text not null',
    issuer: 'text not null',
    subject: 'text not null',
    login: 'text not null',
    workspace: 'text not null',
    /** JSON text: issuer and subject of each identity of the requester. */
    identities: 'text not null',
    grant_name: 'text not null',
    seconds: 'integer not null',
    reason: 'text',
    asked_at: 'timestamptz not null',
    answer_by: 'timestamptz not null',
    needed: 'integer not null',
    state: 'text not null',
    /** JSON text. */
    answers: 'text not null',
    until: 'timestamptz',
    /** State of the review of emergency access; null for a request. */
    review_state: 'text',
    /** JSON text: deadline, reviewers and decisions of the review. */
    review: 'text',
  },
  /** Undelivered webhook messages (admin/approval/webhook/deliver.ts). */
  approval_deliveries: {
    /** `webhook-id` of the message. */
    id: 'text primary key',
    webhook: 'text not null',
    request_id: 'text not null',
    /** Signed body of the message. */
    body: 'text not null',
    created_at: 'timestamptz not null',
    next_at: 'timestamptz not null',
    attempts: 'integer not null',
  },
} as const;

/** Indexes of approvals. */
export const APPROVAL_INDEXES = [
  `create index approval_requests_open on approval_requests (session_id) where state in ('pending', 'approved')`,
  `create index approval_requests_asked on approval_requests (asked_at)`,
  `create index approval_deliveries_next on approval_deliveries (next_at)`,
];
