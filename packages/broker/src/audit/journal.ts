/**
 * Everything that must outlive the process goes through here, and a promise it returns resolves when that is durable.
 * Requests that wait at the same time share one transaction (group commit): the disk is asked once for all of them, which
 * is what lets one core answer a thousand exchanges a second with an audit row each.
 */
import { MeshpassError } from '@meshpass/identity';
import { sql } from 'kysely';
import type { Store } from '../store/open.ts';
import { FENCED, REPLAYED } from '../store/write-batch.ts';
import type { AuditRow } from './event.ts';

/** Columns of a row, as the database unpacks them from JSON. */
type Row = Readonly<Record<string, string | null>>;

/** What one request wants written: all of it, or nothing. */
export interface Entry {
  /** Refused with `proof_replayed` when the key has been seen and has not expired. */
  readonly replay?: { readonly key: string; readonly expiresAt: string };
  readonly closed?: readonly { readonly id: string; readonly closed_at: string; readonly close_cause: string }[];
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
/** While requests come together, a batch gathers this many times as long as the last transaction took ... */
const GATHER_SHARE = 1;
/** ... and at most so long. */
const MAX_GATHER_MS = 8;

interface Waiting {
  readonly entry: Entry;
  readonly resolve: () => void;
  readonly reject: (error: unknown) => void;
}

export function createJournal(options: JournalOptions): Journal {
  const waiting: Waiting[] = [];
  let running: Promise<void> | undefined;
  let gatherMs = 0;

  async function run(): Promise<void> {
    while (waiting.length > 0) {
      if (gatherMs > 0 && waiting.length < MAX_BATCH) await new Promise((resolve) => setTimeout(resolve, gatherMs));
      const batch = waiting.splice(0, MAX_BATCH);
      const began = performance.now();
      await commit(options.store, batch, options.onFailure);
      const took = performance.now() - began;
      gatherMs = batch.length > 1 ? Math.min(took * GATHER_SHARE, MAX_GATHER_MS) : 0;
      options.observe?.(batch.length, took / 1000);
    }
    gatherMs = 0;
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

async function commit(
  store: Store,
  batch: readonly Waiting[],
  onFailure?: (cause: unknown) => void,
  abandoned = false,
): Promise<void> {
  // Of two entries with the same proof in one batch the first has it.
  const { fresh, replayed } = splitReplays(batch, new Set());
  for (const one of replayed) one.reject(replay());
  if (fresh.length === 0) return;
  try {
    const text = batchText(
      fresh.map((one) => one.entry),
      abandoned,
    );
    await sql`select meshpass_write(${store.epoch}, ${text}::jsonb)`.execute(store.db);
    for (const one of fresh) one.resolve();
  } catch (thrown) {
    const state = sqlState(thrown);
    if (state === REPLAYED) {
      const rest = splitReplays(fresh, usedKeys(thrown));
      for (const one of rest.replayed) one.reject(replay());
      return await commit(store, rest.fresh, onFailure, abandoned);
    }
    if (state === UNIQUE_VIOLATION && !abandoned) return await commit(store, fresh, onFailure, true);
    // Data exceptions and integrity violations are the fault of one entry; the others are innocent.
    if (fresh.length > 1 && (state?.startsWith('22') || state?.startsWith('23'))) {
      for (const one of fresh) await commit(store, [one], onFailure, true);
      return;
    }
    onFailure?.(thrown);
    for (const one of fresh) one.reject(unavailable(thrown, state));
  }
}

const UNIQUE_VIOLATION = '23505';

function splitReplays(batch: readonly Waiting[], used: Set<string>) {
  const fresh: Waiting[] = [];
  const replayed: Waiting[] = [];
  for (const one of batch) {
    const key = one.entry.replay?.key;
    if (key !== undefined && used.has(key)) replayed.push(one);
    else fresh.push(one);
    if (key !== undefined) used.add(key);
  }
  return { fresh, replayed };
}

/** Members without rows are left out: the function looks at those that are there. */
function batchText(entries: readonly Entry[], abandoned: boolean): string {
  const parts: Record<string, readonly unknown[]> = {
    proofs: entries.flatMap(({ replay }) => (replay ? [{ key: replay.key, expires_at: replay.expiresAt }] : [])),
    closed: entries.flatMap((entry) => entry.closed ?? []),
    sessions: entries.flatMap((entry) => (entry.opened ? [entry.opened.session] : [])),
    principals: entries.flatMap((entry) => entry.opened?.principals ?? []),
    narrowed: entries.flatMap((entry) => entry.narrowed ?? []),
    revoked: entries.flatMap((entry) => entry.revoked ?? []),
    certificates: entries.flatMap((entry) => entry.certificates ?? []),
    audit: entries.flatMap((entry) => entry.audit),
    abandoned: abandoned ? [true] : [],
  };
  return JSON.stringify(Object.fromEntries(Object.entries(parts).filter(([, rows]) => rows.length > 0)));
}

function sqlState(thrown: unknown): string | undefined {
  const { code } = (thrown ?? {}) as { code?: unknown };
  return typeof code === 'string' ? code : undefined;
}

function usedKeys(thrown: unknown): Set<string> {
  return new Set(JSON.parse((thrown as { detail: string }).detail) as string[]);
}

function replay(): MeshpassError {
  return new MeshpassError('proof_replayed', 'This proof has been used before; obtain a new one.');
}

function unavailable(cause: unknown, state: string | undefined): MeshpassError {
  const message =
    state === FENCED
      ? 'Another broker has taken over; ask again.'
      : 'The broker cannot write its records now; nothing was issued.';
  return new MeshpassError('store_unavailable', message, { cause, retryAfter: 2 });
}
