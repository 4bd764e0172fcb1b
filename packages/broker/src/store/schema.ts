/**
 * Defines the schema of an empty store. Once the schema has been released, these statements must not be edited. Every
 * change requires a migration (migrate.ts).
 */
import type { ColumnType, Generated } from 'kysely';

/** The SQLSTATE that the audit log's triggers raise when they reject a change. */
export const APPEND_ONLY_VIOLATION = 'MP005';

/** Signed checkpoints of the log, each with the state needed to continue from it. Cuts have the same columns. */
const CHECKPOINTS = {
  /** The number of rows that the checkpoint covers. */
  size: 'bigint primary key',
  /** The hash of the last row that the checkpoint covers. */
  hash: 'text not null',
  /** The roots of the complete subtrees as JSON (audit/log/tree.ts). */
  peaks: 'text not null',
  /** The text of the signed checkpoint. */
  note: 'text not null',
  time: 'timestamptz not null',
} as const;

/** All tables and their columns. */
const TABLES = {
  /** Sessions, both live and ended ones. */
  sessions: {
    id: 'text primary key',
    /** The SHA-256 hash of the session token, in hex. The token itself is never stored. */
    token_hash: 'text not null unique',
    /** The thumbprint of the DPoP key (RFC 7638). */
    jkt: 'text not null',
    issuer: 'text not null',
    subject: 'text not null',
    login: 'text not null',
    workspace_key: 'text not null',
    /** The attestation as JSON, used to re-evaluate access when the access file changes. */
    attestation: 'text not null',
    opened_at: 'timestamptz not null',
    closed_at: 'timestamptz',
    close_cause: 'text',
    /** When the lease ends if the broker was restarted and no heartbeat has arrived since (core/session/leases.ts). */
    graced_until: 'timestamptz',
    /** The sign-ins that replace those in `attestation`, as JSON. Null if there are none. */
    sign_ins: 'text',
  },
  /** The principals that sessions have or used to have. */
  session_principals: {
    session_id: 'text not null references sessions (id)',
    grant_name: 'text not null',
    namespace: 'text not null',
    service_account: 'text not null',
    spiffe_id: 'text not null',
    /** The latest time that the grant can end. */
    until: 'timestamptz not null',
    /**
     * The cause, time and limit as JSON, if the session gained the grant later. Null if it was opened with the grant.
     */
    gained: 'text',
    /** The latest possible expiry of an SVID. Null before the first certificate request. */
    last_not_after: 'timestamptz',
    /** When the principal lost its access, whether or not the session ended as well. */
    revoked_at: 'timestamptz',
    /** Why the principal lost its access, if its session continued. Otherwise, see `sessions.close_cause`. */
    revoke_cause: 'text',
  },
  /** Single-use proofs that have already been used. */
  proof_replay: {
    /** The SHA-256 hash of the issuer and `jti` in hex. If a proof has no `jti`, its signed part is hashed instead. */
    key: 'text primary key',
    expires_at: 'timestamptz not null',
  },
  /** Facts that GitHub has revoked (attest/github/losses.ts). */
  losses: {
    fact: 'text primary key',
    learnt_at: 'timestamptz not null',
  },
  /** The rows of the audit log. */
  audit: {
    /**
     * The row's position in the log, without gaps. In contrast, `id` sorts in the order in which decisions were made.
     */
    seq: 'bigint primary key',
    /** The hash of the previous row (audit/log/chain.ts). */
    previous: 'text not null',
    hash: 'text not null',
    /** A UUIDv7, which responses contain as `decision_id`. */
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
    /** The grants or operator roles that apply, with their positions in the access file. */
    rule: 'text',
    target: 'text',
    proof_hash: 'text',
    source: 'text',
    request_id: 'text',
    /** Further details for auditors, as JSON. */
    detail: 'text',
  },
  audit_checkpoints: CHECKPOINTS,
  /** Cuts, which replace pruned rows. Only the last one is in effect. */
  audit_cuts: CHECKPOINTS,
  /** Declared restores from a backup (audit/checkpoint/epoch.ts). */
  audit_restores: {
    /** The log's epoch after the restore. */
    epoch: 'integer primary key',
    /** The first checkpoint of the epoch. */
    note: 'text not null',
    time: 'timestamptz not null',
  },
  /** Access files applied by a plan. The last one is in force. */
  access_versions: {
    version: 'bigint primary key',
    time: 'timestamptz not null',
    applied_by: 'text not null',
    reason: 'text not null',
    /** The id of the plan that was applied. */
    plan: 'text not null',
    /** The name of the main file. */
    main: 'text not null',
    /** A map of paths to file contents, as JSON. */
    files: 'text not null',
    /**
     * The GitHub Actions run that applied the file: its issuer and repository, and its id. Null if an operator applied
     * it.
     */
    run_of: 'text',
    run: 'bigint',
    /**
     * True if this version made the broker follow the file on disk again. In that case, `files` contains the text it
     * had then. Null otherwise.
     */
    on_disk: 'boolean',
  },
  /** The last file on disk that came into force. This table has at most one row. */
  access_in_force: {
    singleton: 'boolean primary key default true check (singleton)',
    /** The SHA-256 hash of the file's text and all included files, in hex. */
    digest: 'text not null',
    /** The name of the main file. */
    main: 'text not null',
    /** A map of paths to file contents, as JSON. */
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
    /** The issuer and subject of each of the requester's identities, as JSON. */
    identities: 'text not null',
    grant_name: 'text not null',
    seconds: 'integer not null',
    reason: 'text',
    asked_at: 'timestamptz not null',
    answer_by: 'timestamptz not null',
    needed: 'integer not null',
    state: 'text not null',
    /** The approvers' answers, as JSON. */
    answers: 'text not null',
    until: 'timestamptz',
    /** The review state of emergency access. Null for ordinary requests. */
    review_state: 'text',
    /** The review's deadline, reviewers and decisions, as JSON. */
    review: 'text',
  },
  /** Webhook messages that have not been delivered yet (admin/approval/webhook/deliver.ts). */
  approval_deliveries: {
    /** The `webhook-id` header of the message. */
    id: 'text primary key',
    webhook: 'text not null',
    request_id: 'text not null',
    /** The body of the message, as signed. */
    body: 'text not null',
    created_at: 'timestamptz not null',
    next_at: 'timestamptz not null',
    attempts: 'integer not null',
  },
  /**
   * The broker process that is allowed to write. This table has a single row. Once a newer process has increased the
   * epoch, the older one's writes fail.
   */
  broker_epoch: {
    singleton: 'boolean primary key check (singleton)',
    epoch: 'integer not null',
    /** The broker's record as JSON (leader-record.ts). */
    holder: 'text',
  },
} as const;

/** Maps each table to its row type, for Kysely. */
export type Tables = { [Name in keyof typeof TABLES]: Row<(typeof TABLES)[Name]> };

/** The statements that create the schema, in order. */
export const SCHEMA: readonly string[] = [
  ...createTableStatements(TABLES),
  // Enforce at most one live session per workspace, even if the broker has a bug.
  `create unique index sessions_live on sessions (workspace_key) where closed_at is null`,
  // A grant that is lost and then regained gets a new principal, because the old one may still be denied.
  `alter table session_principals add primary key (session_id, grant_name, service_account)`,
  `create unique index session_principals_held on session_principals (session_id, grant_name) where revoked_at is null`,
  `create index session_principals_revoked on session_principals (last_not_after) where revoked_at is not null`,
  `create index proof_replay_expiry on proof_replay (expires_at)`,
  `create index audit_session on audit (session_id) where session_id is not null`,
  // This index is used on every startup (core/sign-in/recent-logouts.ts).
  `create index audit_sign_outs on audit (id) where action in ('sign_in.logout', 'operator.sign-out', 'audit.restore')`,
  // The database rejects updates of audit rows, and deletions of rows that no cut covers. The database owner can
  // disable these triggers, but the hashes and checkpoints then reveal any changes.
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
  // Start at epoch 0. The first broker increases it.
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

// Each table is defined once, as a map of its columns. Its `create table` statement and its row type for Kysely are
// derived from this map.

/** The SQL type and constraints of each column in a table. */
type Columns = Readonly<Record<string, string>>;

/** The row type of a table. A column may be null unless its definition contains `not null` or `primary key`. */
type Row<Table extends Columns> = { -readonly [Name in keyof Table]: Column<Table[Name]> };

type Column<Sql extends string> = Sql extends `${string} default ${string}`
  ? Generated<Value<Sql>>
  : Sql extends `${string} not null${string}` | `${string} primary key${string}`
    ? Value<Sql>
    : Value<Sql> extends Time
      ? ColumnType<Date | null, Date | string | null, Date | string | null>
      : Value<Sql> | null;

type Value<Sql extends string> = Sql extends `timestamptz${string}`
  ? Time
  : Sql extends `integer${string}`
    ? number
    : Sql extends `boolean${string}`
      ? boolean
      : string;

/** Both engines return timestamps as `Date` and `bigint` values as strings. */
type Time = ColumnType<Date, Date | string, Date | string>;

/** Returns a `create table` statement for each table, without any indexes. */
function createTableStatements(tables: Readonly<Record<string, Columns>>): string[] {
  return Object.entries(tables).map(([name, columns]) => {
    const defined = Object.entries(columns).map(([column, sql]) => `${column} ${sql}`);
    return `create table ${name} (${defined.join(', ')})`;
  });
}
