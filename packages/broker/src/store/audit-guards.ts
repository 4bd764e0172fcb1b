/**
 * The audit log is append-only for the database, too: rows cannot be updated, and only those can be deleted that a cut stands
 * for. Who owns the database can switch that off; then the hashes and the checkpoints tell.
 */

/** SQLSTATE of what the guards refuse. */
export const APPEND_ONLY = 'MP005';

export const AUDIT_TABLES: readonly string[] = ['audit_checkpoints', 'audit_cuts'].map(
  (table) => `
create table ${table} (
  size bigint primary key,
  hash text not null,
  peaks text not null,
  note text not null,
  time timestamptz not null
)`,
);

export const AUDIT_GUARDS: readonly string[] = [
  `
create function meshpass_append_only() returns trigger language plpgsql as $$
begin
  raise exception 'the audit log is append-only' using errcode = '${APPEND_ONLY}';
end
$$`,
  ...['audit', 'audit_checkpoints', 'audit_cuts'].map(
    (table) => `
create trigger ${table}_unchanged before update or truncate on ${table}
for each statement execute function meshpass_append_only()`,
  ),
  `
create trigger audit_cuts_kept before delete on audit_cuts
for each statement execute function meshpass_append_only()`,
  ...(
    [
      ['audit', 'seq'],
      ['audit_checkpoints', 'size'],
    ] as const
  ).flatMap(([table, column]) => [
    `
create function meshpass_${table}_kept() returns trigger language plpgsql as $$
begin
  if exists (select 1 from gone where ${column} > coalesce((select max(size) from audit_cuts), 0)) then
    raise exception 'the audit log is append-only' using errcode = '${APPEND_ONLY}';
  end if;
  return null;
end
$$`,
    `
create trigger ${table}_kept after delete on ${table} referencing old table as gone
for each statement execute function meshpass_${table}_kept()`,
  ]),
];
