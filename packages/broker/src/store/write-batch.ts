/**
 * What the journal calls: one function, one round trip, one transaction for the entries of many requests. Its plans are kept
 * by the engine; the same statements sent one by one cost five times the CPU. Changing it takes a new migration.
 *
 * Hash and merge joins are off in it: they would read whole tables to find the few rows that a batch names.
 */

/** SQLSTATE when another broker has taken over. */
export const FENCED = 'MP001';
/** SQLSTATE when proofs have been used before; the error's `detail` is a JSON array of their keys. Nothing is written. */
export const REPLAYED = 'MP002';

/** SQLSTATE when the last row of the audit log is not the one that the first of the batch was chained to. */
export const MOVED = 'MP003';
/** SQLSTATE when rows of the audit log are there already. Nothing is written. */
export const AUDITED = 'MP004';

export const WRITE_BATCH = `
create or replace function meshpass_write(writer integer, batch jsonb) returns void
language plpgsql
set enable_hashjoin = off
set enable_mergejoin = off
as $$
declare
  used jsonb;
  head_seq bigint;
  head_hash text;
  written integer;
begin
  -- Also against ourselves: a statement whose connection was lost may still run.
  perform 1 from broker_epoch where epoch = writer for update;
  if not found then
    raise exception 'another broker has taken over' using errcode = '${FENCED}';
  end if;

  if batch ? 'proofs' then
    with fresh as (
      insert into proof_replay
      select * from jsonb_populate_recordset(null::proof_replay, batch->'proofs')
      on conflict (key) do nothing
      returning key
    )
    select jsonb_agg(key) into used
    from jsonb_to_recordset(batch->'proofs') p (key text)
    where key not in (select key from fresh);
    if used is not null then
      raise exception 'proofs have been used before' using errcode = '${REPLAYED}', detail = used::text;
    end if;
  end if;

  if batch ? 'closed' then
    update sessions s set closed_at = x.closed_at, close_cause = x.close_cause
    from jsonb_to_recordset(batch->'closed') x (id text, closed_at timestamptz, close_cause text)
    where s.id = x.id and s.closed_at is null;
    update session_principals p set revoked_at = x.closed_at
    from jsonb_to_recordset(batch->'closed') x (id text, closed_at timestamptz)
    where p.session_id = x.id and p.revoked_at is null;
  end if;

  -- A commit whose answer was lost leaves a session that nobody holds; it must not block its workspace.
  if batch ? 'abandoned' then
    update sessions s set closed_at = x.opened_at, close_cause = 'replaced'
    from jsonb_to_recordset(batch->'sessions') x (workspace_key text, opened_at timestamptz)
    where s.workspace_key = x.workspace_key and s.closed_at is null;
  end if;

  if batch ? 'sessions' then
    insert into sessions select * from jsonb_populate_recordset(null::sessions, batch->'sessions');
    insert into session_principals
    select * from jsonb_populate_recordset(null::session_principals, batch->'principals');
  end if;

  if batch ? 'narrowed' then
    update sessions s set grants = x.grants, expires_at = x.expires_at
    from jsonb_to_recordset(batch->'narrowed') x (id text, grants text, expires_at timestamptz)
    where s.id = x.id;
  end if;

  if batch ? 'sign_ins' then
    -- Of several of one session in a batch the last counts.
    update sessions s set sign_ins = x.sign_ins
    from (
      select distinct on (y.value->>'id') y.value->>'id' as id, y.value->>'sign_ins' as sign_ins
      from jsonb_array_elements(batch->'sign_ins') with ordinality y (value, at)
      order by y.value->>'id', y.at desc
    ) x
    where s.id = x.id;
  end if;

  -- Not to one that has closed meanwhile. A retried entry brings the same rows.
  if batch ? 'gained' then
    insert into session_principals
    select x.* from jsonb_populate_recordset(null::session_principals, batch->'gained') x
    where exists (select from sessions s where s.id = x.session_id and s.closed_at is null)
    on conflict do nothing;
  end if;

  -- A grant that was lost and gained again has a principal of each time. Brokers before 010 name none.
  if batch ? 'revoked' then
    update session_principals p set revoked_at = x.revoked_at, revoke_cause = x.revoke_cause
    from jsonb_to_recordset(batch->'revoked')
      x (session_id text, grant_name text, spiffe_id text, revoked_at timestamptz, revoke_cause text)
    where p.session_id = x.session_id and p.grant_name = x.grant_name and p.revoked_at is null
      and (x.spiffe_id is null or p.spiffe_id = x.spiffe_id);
  end if;

  if batch ? 'certificates' then
    update session_principals p set last_not_after = greatest(p.last_not_after, x.last_not_after)
    from (
      select session_id, grant_name, spiffe_id, max(last_not_after) as last_not_after
      from jsonb_to_recordset(batch->'certificates')
        y (session_id text, grant_name text, spiffe_id text, last_not_after timestamptz)
      group by session_id, grant_name, spiffe_id
    ) x
    where p.session_id = x.session_id and p.grant_name = x.grant_name
      and (x.spiffe_id is null or p.spiffe_id = x.spiffe_id);
  end if;

  if batch ? 'approvals' then
    insert into approval_requests as r
    select * from jsonb_populate_recordset(null::approval_requests, batch->'approvals')
    on conflict (id) do update set state = excluded.state, answers = excluded.answers, until = excluded.until
    -- What is settled stays so.
    where r.state in ('pending', 'approved');
    -- An emergency is reviewed after its grant is over, too. Brokers before 016 say nothing of it.
    update approval_requests r set review_state = x.review_state, review = x.review
    from jsonb_to_recordset(batch->'approvals') x (id text, review_state text, review text)
    where r.id = x.id and x.review is not null;
  end if;

  if batch ? 'deliveries' then
    insert into approval_deliveries
    select * from jsonb_populate_recordset(null::approval_deliveries, batch->'deliveries')
    on conflict (id) do nothing;
  end if;

  if batch ? 'audit' then
    select seq, hash into head_seq, head_hash from audit order by seq desc limit 1;
    if not found then
      select size, hash into head_seq, head_hash from audit_cuts order by size desc limit 1;
    end if;
    if (batch->'audit'->0->>'seq')::bigint <> coalesce(head_seq, 0) + 1
      or batch->'audit'->0->>'previous' <> coalesce(head_hash, repeat('0', 64)) then
      raise exception 'the audit log has gone on' using errcode = '${MOVED}';
    end if;
    -- A retried entry brings the same ids.
    insert into audit select * from jsonb_populate_recordset(null::audit, batch->'audit')
    on conflict (id) do nothing;
    get diagnostics written = row_count;
    if written <> jsonb_array_length(batch->'audit') then
      raise exception 'rows are in the audit log already' using errcode = '${AUDITED}';
    end if;
  end if;

  if batch ? 'access' then
    insert into access_versions (version, time, applied_by, reason, plan, main, files)
    select (select coalesce(max(version), 0) from access_versions) + row_number() over (), x.*
    from jsonb_to_recordset(batch->'access')
      x (time timestamptz, applied_by text, reason text, plan text, main text, files text);
  end if;

  if batch ? 'operators' then
    insert into operator_sessions
    select * from jsonb_populate_recordset(null::operator_sessions, batch->'operators');
  end if;

  if batch ? 'operators_confirmed' then
    update operator_sessions s set confirmed_at = x.confirmed_at, login = x.login, attestation = x.attestation
    from jsonb_to_recordset(batch->'operators_confirmed')
      x (id text, confirmed_at timestamptz, login text, attestation text)
    where s.id = x.id and s.closed_at is null;
  end if;

  if batch ? 'operators_closed' then
    update operator_sessions s set closed_at = x.closed_at, close_cause = x.close_cause
    from jsonb_to_recordset(batch->'operators_closed') x (id text, closed_at timestamptz, close_cause text)
    where s.id = x.id and s.closed_at is null;
  end if;

  -- Those that nobody confirmed in time go when the next one comes.
  if batch ? 'confirmations' then
    delete from operator_confirmations
    where expires_at <= (batch->'confirmations'->0->>'asked_at')::timestamptz;
    insert into operator_confirmations
    select * from jsonb_populate_recordset(null::operator_confirmations, batch->'confirmations')
    on conflict (id) do nothing;
  end if;

  -- Its parameters are needed no more.
  if batch ? 'confirmed' then
    update operator_confirmations c set closed_at = x.closed_at, confirmed_by = x.confirmed_by, body = ''
    from jsonb_to_recordset(batch->'confirmed') x (id text, closed_at timestamptz, confirmed_by text)
    where c.id = x.id and c.closed_at is null;
  end if;

  if batch ? 'cuts' then
    insert into audit_cuts select * from jsonb_populate_recordset(null::audit_cuts, batch->'cuts');
  end if;
end
$$`;
