/**
 * Everything that must outlive the process goes through here, and a promise it returns resolves when that is durable.
 * Requests that wait at the same time share one transaction (group commit): the disk is asked once for all of them, which
 * is what lets one core answer a thousand exchanges a second with an audit row each.
 */
import { MeshpassError } from '@meshpass/identity';
import { sql, type Transaction } from 'kysely';
import type { Store } from '../store/open.ts';
import type { Tables } from '../store/tables.ts';
import type { AuditRow } from './event.ts';

/** Columns of a row, as the database unpacks them from JSON. */
type Row = Readonly<Record<string, string | null>>;

/** What one request wants written: all of it, or nothing. */
export interface Entry {
  /** Refused with `proof_replayed` when the key has been seen and has not expired. */
  readonly replay?: { readonly key: string; readonly expiresAt: string };
  readonly closed?: readonly { readonly id: string; readonly closed_at: string; readonly close_cause: string }[];
  /** Ends whatever live session its workspace still has in the store. */
  readonly opened?: { readonly session: Row; readonly principals: readonly Row[] };
  /** A session that keeps some of its grants. */
  readonly narrowed?: { readonly id: string; readonly grants: string; readonly expires_at: string };
  readonly revoked?: readonly {
    readonly session_id: string;
    readonly grant_name: string;
    readonly revoked_at: string;
  }[];
  readonly certificates?: readonly {
    readonly session_id: string;
    readonly grant_name: string;
    readonly last_not_after: string;
  }[];
  readonly audit: readonly AuditRow[];
}

export interface Journal {
  /** @throws MeshpassError `store_unavailable`, `overloaded`, `proof_replayed`; nothing of the entry is written then */
  readonly write: (entry: Entry) => Promise<void>;
  /** Resolves when all that was given so far is durable or refused. */
  readonly flush: () => Promise<void>;
}

export interface JournalOptions {
  readonly store: Store;
  /** Told after each transaction: entries in it and seconds it took. */
  readonly observe?: (entries: number, seconds: number) => void;
  readonly onFailure?: (cause: unknown) => void;
}

const MAX_BATCH = 256;
const MAX_WAITING = 8_192;
/** How long a batch gathers while requests arrive faster than transactions end. */
const GATHER_MS = 2;

interface Waiting {
  readonly entry: Entry;
  readonly resolve: () => void;
  readonly reject: (error: unknown) => void;
}

export function createJournal(options: JournalOptions): Journal {
  const waiting: Waiting[] = [];
  let running: Promise<void> | undefined;
  let busy = false;

  async function run(): Promise<void> {
    while (waiting.length > 0) {
      if (busy && waiting.length < MAX_BATCH) await new Promise((resolve) => setTimeout(resolve, GATHER_MS));
      const batch = waiting.splice(0, MAX_BATCH);
      busy = batch.length > 1;
      const began = performance.now();
      await commit(options.store, batch, options.onFailure);
      options.observe?.(batch.length, (performance.now() - began) / 1000);
    }
    busy = false;
    running = undefined;
  }

  return {
    write: (entry) => {
      if (waiting.length >= MAX_WAITING)
        return Promise.reject(
          new MeshpassError('overloaded', 'The broker is overloaded; try again.', { retryAfter: 2 }),
        );
      return new Promise<void>((resolve, reject) => {
        waiting.push({ entry, resolve, reject });
        running ??= Promise.resolve().then(run);
      });
    },
    flush: async () => {
      while (running) await running;
    },
  };
}

async function commit(store: Store, batch: readonly Waiting[], onFailure?: (cause: unknown) => void): Promise<void> {
  try {
    const replayed = await store.db.transaction().execute((tx) => writeAll(tx, store.epoch, batch));
    for (const one of batch) {
      if (!replayed.has(one)) one.resolve();
      else one.reject(new MeshpassError('proof_replayed', 'This proof has been used before; obtain a new one.'));
    }
  } catch (thrown) {
    if (batch.length > 1 && isFaultOfOneEntry(thrown)) {
      for (const one of batch) await commit(store, [one], onFailure);
      return;
    }
    onFailure?.(thrown);
    const error =
      thrown instanceof MeshpassError
        ? thrown
        : new MeshpassError('store_unavailable', 'The broker cannot write its records now; nothing was issued.', {
            cause: thrown,
            retryAfter: 2,
          });
    for (const one of batch) one.reject(error);
  }
}

/** Data exceptions and integrity violations (SQLSTATE classes 22 and 23): other entries of the batch are innocent. */
function isFaultOfOneEntry(thrown: unknown): boolean {
  const code = (thrown as { code?: unknown } | null)?.code;
  return typeof code === 'string' && (code.startsWith('22') || code.startsWith('23'));
}

/** @returns those whose proof was a replay; nothing was written for them */
async function writeAll(tx: Transaction<Tables>, epoch: number, batch: readonly Waiting[]): Promise<Set<Waiting>> {
  const fence = await sql`select 1 from broker_epoch where epoch = ${epoch} for share`.execute(tx);
  if (fence.rows.length === 0)
    throw new MeshpassError('store_unavailable', 'Another broker has taken over; ask again.', { retryAfter: 1 });

  const replayed = await claimProofs(tx, batch);
  const entries = batch.filter((one) => !replayed.has(one)).map((one) => one.entry);

  const opened = entries.flatMap((entry) => (entry.opened ? [entry.opened] : []));
  const closed = entries.flatMap((entry) => entry.closed ?? []);
  if (closed.length > 0)
    await sql`
      update sessions s set closed_at = x.closed_at, close_cause = x.close_cause
      from jsonb_to_recordset(${json(closed)}::jsonb) x (id text, closed_at timestamptz, close_cause text)
      where s.id = x.id and s.closed_at is null`.execute(tx);
  if (closed.length > 0)
    await sql`
      update session_principals p set revoked_at = x.closed_at
      from jsonb_to_recordset(${json(closed)}::jsonb) x (id text, closed_at timestamptz)
      where p.session_id = x.id and p.revoked_at is null`.execute(tx);
  if (opened.length > 0) {
    const rows = opened.map((one) => one.session);
    // A commit whose answer was lost may have left a session that nobody holds; it must not block its workspace.
    await sql`
      update sessions s set closed_at = x.opened_at, close_cause = 'replaced'
      from jsonb_to_recordset(${json(rows)}::jsonb) x (workspace_key text, opened_at timestamptz)
      where s.workspace_key = x.workspace_key and s.closed_at is null`.execute(tx);
    await sql`insert into sessions select * from jsonb_populate_recordset(null::sessions, ${json(rows)}::jsonb)`.execute(
      tx,
    );
    const principals = opened.flatMap((one) => one.principals);
    await sql`
      insert into session_principals
      select * from jsonb_populate_recordset(null::session_principals, ${json(principals)}::jsonb)`.execute(tx);
  }
  for (const { narrowed } of entries) {
    if (!narrowed) continue;
    await sql`
      update sessions set grants = ${narrowed.grants}, expires_at = ${narrowed.expires_at}::timestamptz
      where id = ${narrowed.id}`.execute(tx);
  }
  const revoked = entries.flatMap((entry) => entry.revoked ?? []);
  if (revoked.length > 0)
    await sql`
      update session_principals p set revoked_at = x.revoked_at
      from jsonb_to_recordset(${json(revoked)}::jsonb) x (session_id text, grant_name text, revoked_at timestamptz)
      where p.session_id = x.session_id and p.grant_name = x.grant_name and p.revoked_at is null`.execute(tx);
  const certificates = entries.flatMap((entry) => entry.certificates ?? []);
  if (certificates.length > 0)
    await sql`
      update session_principals p set last_not_after = greatest(p.last_not_after, x.last_not_after)
      from (
        select session_id, grant_name, max(last_not_after) as last_not_after
        from jsonb_to_recordset(${json(certificates)}::jsonb)
          y (session_id text, grant_name text, last_not_after timestamptz)
        group by session_id, grant_name
      ) x
      where p.session_id = x.session_id and p.grant_name = x.grant_name`.execute(tx);
  const audit = entries.flatMap((entry) => entry.audit);
  // A retried entry brings the same ids.
  if (audit.length > 0)
    await sql`
      insert into audit (id, time, action, outcome, code, reason, subject, login, issuer, session_id, workspace,
        grant_name, target, proof_hash, source, request_id, detail)
      select id, time, action, outcome, code, reason, subject, login, issuer, session_id, workspace,
        grant_name, target, proof_hash, source, request_id, detail
      from jsonb_populate_recordset(null::audit, ${json(audit)}::jsonb)
      on conflict (id) do nothing`.execute(tx);
  return replayed;
}

async function claimProofs(tx: Transaction<Tables>, batch: readonly Waiting[]): Promise<Set<Waiting>> {
  const claims = batch.flatMap((one) => (one.entry.replay ? [{ one, ...one.entry.replay }] : []));
  if (claims.length === 0) return new Set();
  const rows = claims.map(({ key, expiresAt }) => ({ key, expires_at: expiresAt }));
  const { rows: fresh } = await sql<{ key: string }>`
    insert into proof_replay select * from jsonb_populate_recordset(null::proof_replay, ${json(rows)}::jsonb)
    on conflict (key) do nothing returning key`.execute(tx);
  const unclaimed = new Set(fresh.map((row) => row.key));
  // Of two in one batch the first has it.
  return new Set(claims.filter(({ key }) => !unclaimed.delete(key)).map(({ one }) => one));
}

function json(rows: readonly unknown[]): string {
  return JSON.stringify(rows);
}
