/** Statements that write access files. */
import type { Insertable } from 'kysely';
import { statement, type Tables } from '../../store/index.ts';

/** Adds access files applied by a plan, with the next version number. */
export const ADD_ACCESS_VERSIONS = statement<Omit<Insertable<Tables['access_versions']>, 'version'>>(`
insert into access_versions (version, time, applied_by, reason, plan, main, files, run_of, run, on_disk)
select (select coalesce(max(version), 0) from access_versions) + row_number() over (), x.*
from jsonb_to_recordset($1::jsonb) x (
  time timestamptz, applied_by text, reason text, plan text, main text, files text,
  run_of text, run bigint, on_disk boolean
)`);

/** Replaces the file on disk that last came into force. */
export const SET_IN_FORCE = statement<Insertable<Tables['access_in_force']> & { readonly singleton: true }>(
  `
insert into access_in_force select * from jsonb_populate_recordset(null::access_in_force, $1::jsonb)
on conflict (singleton) do update set digest = excluded.digest, main = excluded.main, files = excluded.files`,
  { lastOf: 'singleton' },
);
