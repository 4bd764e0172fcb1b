/**
 * Schema of an empty store. Once it has been released, these statements are never edited, and every change is a
 * migration (migrate.ts).
 */
import { createTableStatements, type Row } from './columns.ts';

/** SQLSTATE that the audit log's triggers raise when they reject a change. */
export const APPEND_ONLY_VIOLATION = 'MP005';

/** Signed checkpoints of the log, each with the state needed to continue from it. Cuts have the same columns. */
const CHECKPOINTS = {
  /** Number of rows covered. */
  size: 'bigint primary key',
  /** Hash of the last covered row. */
  hash: 'text not null',
  /** JSON text (audit/log/tree.ts). */
  peaks: 'text not null',
  /** Checkpoint text. */
  note: 'text not null',
  time: 'timestamptz not null',
} as const;

/** All tables and their columns. */
const TABLES = {
  /** Sessions, live and ended. */
  sessions: {
    id: 'text primary key',
    /** SHA-256 of the session token, hex. The token itself is never stored. */
    token_hash: 'text not null unique',
    /** RFC 7638 thumbprint of the DPoP key. */
    jkt: 'text not null',
    issuer: 'text not null',
    subject: 'text not null',
    login: 'text not null',
    workspace_key: 'text not null',
    /** JSON text of the attestation, used to re-evaluate access when the access file changes. */
    attestation: 'text not null',
    opened_at: 'timestamptz not null',
    closed_at: 'timestamptz',
    close_cause: 'text',
    /** Lease end after a broker restart, until the next heartbeat (core/session/leases.ts). */
    graced_until: 'timestamptz',
    /** JSON text of the sign-ins that replace those in `attestation`; null if there are none. */
    sign_ins: 'text',
  },
  /** Principals of sessions. */
  session_principals: {
    session_id: 'text not null references sessions (id)',
    grant_name: 'text not null',
    namespace: 'text not null',
    service_account: 'text not null',
    spiffe_id: 'text not null',
    /** Time at which the grant ends at the latest. */
    until: 'timestamptz not null',
    /**
     * JSON text with the cause, time and limit if the session gained the grant later; null if it opened with the grant.
     */
    gained: 'text',
    /** Latest possible expiry of an SVID; null before the first certificate request. */
    last_not_after: 'timestamptz',
    /** Set when the principal lost its access, whether or not its session also ended. */
    revoked_at: 'timestamptz',
    /** Cause if the principal lost access while its session continued; otherwise see `sessions.close_cause`. */
    revoke_cause: 'text',
  },
  /** Single-use proofs that have been used. */
  proof_replay: {
    /** SHA-256 of issuer and `jti`, or of the proof's signed part if it has no `jti`, hex. */
    key: 'text primary key',
    expires_at: 'timestamptz not null',
  },
  /** Facts that GitHub revoked (attest/github/losses.ts). */
  losses: {
    fact: 'text primary key',
    learnt_at: 'timestamptz not null',
  },
  /** Audit log. */
  audit: {
    /** Position in the order of writes, without gaps. `id`, by contrast, sorts in the order of decisions. */
    seq: 'bigint primary key',
    /** Hash of the previous row (audit/log/chain.ts). */
    previous: 'text not null',
    hash: 'text not null',
    /** UUIDv7, the `decision_id` of responses. */
    id: 'text not null unique',
    /** Limited to milliseconds, because rows are hashed in their exported form. */
    time: "timestamptz not null check (time = date_trunc('milliseconds', time))",
    action: 'text not null',
    outcome: "text not null check (outcome in ('allowed', 'refused', 'ended'))",
    code: 'text',
    reason: 'text not null',
    subject: 'text',
    login: 'text',
    issuer: 'text',
    session_id: 'text',
    workspace: 'text',
    grant_name: 'text',
    /** Grants with their positions in the access file. */
    rule: 'text',
    target: 'text',
    proof_hash: 'text',
    source: 'text',
    request_id: 'text',
    /** JSON text with further details for auditors. */
    detail: 'text',
  },
  audit_checkpoints: CHECKPOINTS,
  /** Cuts that replace pruned rows; the last one is in effect. */
  audit_cuts: CHECKPOINTS,
  /** Declared restores from a backup (audit/checkpoint/epoch.ts). */
  audit_restores: {
    /** Epoch of the log after the restore. */
    epoch: 'integer primary key',
    /** First checkpoint of the epoch. */
    note: 'text not null',
    time: 'timestamptz not null',
  },
  /** Access files applied by a plan; the last one is in force. */
  access_versions: {
    version: 'bigint primary key',
    time: 'timestamptz not null',
    applied_by: 'text not null',
    reason: 'text not null',
    /** Id of the plan. */
    plan: 'text not null',
    /** Name of the main file. */
    main: 'text not null',
    /** JSON text: file contents by path. */
    files: 'text not null',
    /**
     * Issuer and repository of the GitHub Actions run that applied the file, and the run's id; null if an operator
     * applied it.
     */
    run_of: 'text',
    run: 'bigint',
    /**
     * True if this version returned control to the file on disk, in which case `files` is its text at that time; null
     * if not.
     */
    on_disk: 'boolean',
  },
  /** File on disk that last came into force; at most one row. */
  access_in_force: {
    singleton: 'boolean primary key default true check (singleton)',
    /** SHA-256 of the file's text and its included files, hex. */
    digest: 'text not null',
    /** Name of the main file. */
    main: 'text not null',
    /** JSON text: file contents by path. */
    files: 'text not null',
  },
  /** Approval requests (admin/approval/request.ts). */
  approval_requests: {
    id: 'text primary key',
    session_id: 'text not null',
    issuer: 'text not null',
    subject: 'text not null',
    login: 'text not null',
    workspace: 'text not null',
    /** JSON text: issuer and subject of each of the requester's identities. */
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
    /** Review state of emergency access; null for an ordinary request. */
    review_state: 'text',
    /** JSON text: the review's deadline, reviewers and decisions. */
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
  /**
   * Broker process that is allowed to write; one row. A newer process increases the epoch, and the older one's writes
   * fail.
   */
  broker_epoch: {
    singleton: 'boolean primary key check (singleton)',
    epoch: 'integer not null',
    /** JSON text of the broker's record (leader-record.ts). */
    holder: 'text',
  },
} as const;

/** Row types by table, for Kysely. */
export type Tables = { [Name in keyof typeof TABLES]: Row<(typeof TABLES)[Name]> };

/** All statements of the schema, in order. */
export const SCHEMA: readonly string[] = [
  ...createTableStatements(TABLES),
  // At most one live session per workspace, even if the broker has a bug.
  `create unique index sessions_live on sessions (workspace_key) where closed_at is null`,
  // A grant that is lost and gained again gets a new principal, because the old one may still be denied.
  `alter table session_principals add primary key (session_id, grant_name, service_account)`,
  `create unique index session_principals_held on session_principals (session_id, grant_name) where revoked_at is null`,
  `create index session_principals_revoked on session_principals (last_not_after) where revoked_at is not null`,
  `create index proof_replay_expiry on proof_replay (expires_at)`,
  `create index audit_session on audit (session_id) where session_id is not null`,
  // This index is used at each start (core/sign-in/recent-logouts.ts).
  `create index audit_sign_outs on audit (id) where action in ('sign_in.logout', 'operator.sign-out', 'audit.restore')`,
  // The database rejects updates of audit rows, and deletions of rows that no cut covers. The database owner can
  // disable these triggers, but the hashes and checkpoints then reveal the changes.
  `create function meshpass_append_only() returns trigger language plpgsql as $$
begin
  raise exception 'the audit log is append-only' using errcode = '${APPEND_ONLY_VIOLATION}';
end
$$`,
  ...['audit', 'audit_checkpoints', 'audit_cuts'].map(
    (table) => `create trigger ${table}_unchanged before update or truncate on ${table}
    for each statement execute function meshpass_append_only()`,
  ),
  `create trigger audit_cuts_kept before delete on audit_cuts
    for each statement execute function meshpass_append_only()`,
  `create trigger audit_restores_kept before update or delete or truncate on audit_restores
    for each statement execute function meshpass_append_only()`,
  ...keptUnlessCut('audit', 'seq'),
  ...keptUnlessCut('audit_checkpoints', 'size'),
  `create index approval_requests_open on approval_requests (session_id) where state in ('pending', 'approved')`,
  `create index approval_requests_asked on approval_requests (asked_at)`,
  `create index approval_deliveries_next on approval_deliveries (next_at)`,
  // First epoch.
  `insert into broker_epoch values (true, 0)`,
];

function keptUnlessCut(table: string, column: string): string[] {
  return [
    `create function meshpass_${table}_kept() returns trigger language plpgsql as $$
begin
  if exists (select 1 from gone where ${column} > coalesce((select max(size) from audit_cuts), 0)) then
    raise exception 'the audit log is append-only' using errcode = '${APPEND_ONLY_VIOLATION}';
  end if;
  return null;
end
$$`,
    `create trigger ${table}_kept after delete on ${table} referencing old table as gone
    for each statement execute function meshpass_${table}_kept()`,
  ];
}
