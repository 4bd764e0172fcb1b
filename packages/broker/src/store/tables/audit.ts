/** Audit log with its checkpoints, cuts and declared restores. */

/** SQLSTATE raised when the audit log's guards reject a change. */
export const APPEND_ONLY = 'MP005';

/** Signed checkpoints of the log, with the state to continue from them; cuts have the same columns. */
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

/** Tables of the audit log. */
export const AUDIT_TABLES = {
  /** Audit log. */
  audit: {
    /** Write order, without gaps. `id` sorts in the order of decisions. */
    seq: 'bigint primary key',
    /** Hash of the previous row (audit/log/chain.ts). */
    previous: 'text not null',
    hash: 'text not null',
    /** UUIDv7, the `decision_id` of responses. */
    id: 'text not null unique',
    /** Hashed as it is exported, in milliseconds. */
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
    /** Grants with their places in the access file. */
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
} as const;

/**
 * The database rejects updates of audit rows, and deletions of rows outside a cut. The database owner can disable these
 * triggers; hashes and checkpoints then reveal the changes.
 */
export const AUDIT_GUARDS = [
  `create index audit_session on audit (session_id) where session_id is not null`,
  // Read at each start (core/sign-in/recent-logouts.ts).
  `create index audit_sign_outs on audit (id) where action in ('sign_in.logout', 'operator.sign-out', 'audit.restore')`,
  `create function meshpass_append_only() returns trigger language plpgsql as $$
begin
  raise exception 'the audit log is append-only' using errcode = '${APPEND_ONLY}';
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
];

function keptUnlessCut(table: string, column: string): string[] {
  return [
    `create function meshpass_${table}_kept() returns trigger language plpgsql as $$
begin
  if exists (select 1 from gone where ${column} > coalesce((select max(size) from audit_cuts), 0)) then
    raise exception 'the audit log is append-only' using errcode = '${APPEND_ONLY}';
  end if;
  return null;
end
$$`,
    `create trigger ${table}_kept after delete on ${table} referencing old table as gone
    for each statement execute function meshpass_${table}_kept()`,
  ];
}
