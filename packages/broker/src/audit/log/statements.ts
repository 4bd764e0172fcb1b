/** Defines the SQL statements that write the audit log and its single-use proofs. */
import type { Insertable } from 'kysely';
import { statement, type Tables } from '../../store/index.ts';

/**
 * Appends rows to the log. Callers must check that all rows were written. Fewer rows are written if the first one does
 * not follow the last row of the log, or if the log already has rows with these ids.
 */
export const APPEND_ROWS = statement<Readonly<Record<keyof Tables['audit'], string | number | null>>>(`
with head as (
  select coalesce(a.seq, c.size, 0) as seq, coalesce(a.hash, c.hash, repeat('0', 64)) as hash
  from (select) one
  left join (select seq, hash from audit order by seq desc limit 1) a on true
  left join (select size, hash from audit_cuts order by size desc limit 1) c on a.seq is null
)
insert into audit select x.* from head, jsonb_populate_recordset(null::audit, $1::jsonb) x
where head.seq + 1 = ($1::jsonb->0->>'seq')::bigint and head.hash = $1::jsonb->0->>'previous'
on conflict (id) do nothing`);

export const ADD_CUTS = statement<Insertable<Tables['audit_cuts']>>(
  'insert into audit_cuts select * from jsonb_populate_recordset(null::audit_cuts, $1::jsonb)',
);

/**
 * Marks proofs as used, and returns the keys of those that had not been used before. Callers must check that this
 * includes all of them.
 */
export const CONSUME_PROOFS = statement<Insertable<Tables['proof_replay']>>(`
insert into proof_replay select * from jsonb_populate_recordset(null::proof_replay, $1::jsonb)
on conflict (key) do nothing
returning key`);
