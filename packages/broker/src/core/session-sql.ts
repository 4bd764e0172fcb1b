/** The SQL statements that write sessions and their principals. */
import type { Insertable } from 'kysely';
import { statement, type Tables } from '../store/index.ts';

/** The columns of a row that a statement reads. Times are formatted by timestamp(). */
type SessionRow<Column extends keyof Tables['sessions']> = Readonly<Record<Column, string>>;
type PrincipalRow<Column extends keyof Tables['session_principals']> = Readonly<Record<Column, string>>;

/**
 * Ends sessions and revokes their principals. A session that has already ended is left unchanged, unless it ended
 * because it was `replaced`. That cause is overridden by any other, because an operator may end a session while its
 * workspace is opening the next one, and the mesh must then deny the session that ended.
 */
export const CLOSE_SESSIONS = statement<SessionRow<'id' | 'closed_at' | 'close_cause'>>(`
with x as (
  select * from jsonb_to_recordset($1::jsonb) x (id text, closed_at timestamptz, close_cause text)
), closed as (
  update sessions s set closed_at = coalesce(s.closed_at, x.closed_at), close_cause = x.close_cause from x
  where s.id = x.id and coalesce(s.close_cause, 'replaced') = 'replaced'
)
update session_principals p set revoked_at = x.closed_at from x
where p.session_id = x.id and p.revoked_at is null`);

/** Inserts new sessions. Run ADD_PRINCIPALS afterwards to add their principals. */
export const OPEN_SESSIONS = statement<Insertable<Tables['sessions']>>(
  'insert into sessions select * from jsonb_populate_recordset(null::sessions, $1::jsonb)',
);

/** Replaces the recorded sign-ins of sessions. */
export const SET_SIGN_INS = statement<SessionRow<'id' | 'sign_ins'>>(
  `
update sessions s set sign_ins = x.sign_ins
from jsonb_to_recordset($1::jsonb) x (id text, sign_ins text)
where s.id = x.id`,
  { lastOf: 'id' },
);

/**
 * Revokes principals. The cause is recorded even if the session has ended in the meantime. A grant gets a new principal
 * each time it is lost and regained. Run this before ADD_PRINCIPALS, because a single transaction may contain both the
 * loss of a grant and its return.
 */
export const REVOKE_PRINCIPALS = statement<
  PrincipalRow<'session_id' | 'grant_name' | 'spiffe_id' | 'revoked_at' | 'revoke_cause'>
>(`
update session_principals p set revoked_at = coalesce(p.revoked_at, x.revoked_at), revoke_cause = x.revoke_cause
from jsonb_to_recordset($1::jsonb)
  x (session_id text, grant_name text, spiffe_id text, revoked_at timestamptz, revoke_cause text)
where p.session_id = x.session_id and p.grant_name = x.grant_name and p.spiffe_id = x.spiffe_id
  and p.revoke_cause is null`);

/**
 * Adds principals to sessions that have not ended. Rows that already exist are skipped, because a transaction may be
 * repeated. It is an error to add a second principal for a grant that the session already has.
 */
export const ADD_PRINCIPALS = statement<Insertable<Tables['session_principals']>>(`
insert into session_principals
select x.* from jsonb_populate_recordset(null::session_principals, $1::jsonb) x
where exists (select from sessions s where s.id = x.session_id and s.closed_at is null)
on conflict (session_id, grant_name, service_account) do nothing`);

/** Replaces the time limits of principals that have not been revoked. */
export const SET_LIMITS = statement<
  PrincipalRow<'session_id' | 'spiffe_id' | 'until'> & { readonly gained: string | null }
>(
  `
update session_principals p set until = x.until, gained = x.gained
from jsonb_to_recordset($1::jsonb) x (session_id text, spiffe_id text, until timestamptz, gained text)
where p.session_id = x.session_id and p.spiffe_id = x.spiffe_id and p.revoked_at is null`,
  { lastOf: 'spiffe_id' },
);

/** Ends the grace period of sessions that have sent a heartbeat since the broker restarted. */
export const END_GRACE = statement<string>(`
update sessions set graced_until = null
where graced_until is not null and id in (select jsonb_array_elements_text($1::jsonb))`);

/** Marks principals of ended sessions so that the mesh denies them. */
export const DENY_PRINCIPALS = statement<PrincipalRow<'session_id' | 'spiffe_id'>>(`
update session_principals p set revoke_cause = 'operator'
from jsonb_to_recordset($1::jsonb) x (session_id text, spiffe_id text)
where p.session_id = x.session_id and p.spiffe_id = x.spiffe_id`);

/** Records the latest certificate expiry of each principal. The recorded time never moves backwards. */
export const RECORD_EXPIRY = statement<PrincipalRow<'session_id' | 'grant_name' | 'spiffe_id' | 'last_not_after'>>(`
update session_principals p set last_not_after = greatest(p.last_not_after, x.last_not_after)
from (
  select session_id, grant_name, spiffe_id, max(last_not_after) as last_not_after
  from jsonb_to_recordset($1::jsonb)
    y (session_id text, grant_name text, spiffe_id text, last_not_after timestamptz)
  group by session_id, grant_name, spiffe_id
) x
where p.session_id = x.session_id and p.grant_name = x.grant_name and p.spiffe_id = x.spiffe_id`);
