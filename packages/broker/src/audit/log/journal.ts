/**
 * Everything that must outlive the process goes through here, and a promise it returns resolves when that is durable.
 * Requests that wait at the same time share one transaction (group commit): the disk is asked once for all of them, which
 * is what lets one core answer a thousand exchanges a second with an audit row each.
 */
import { MeshpassError } from '@meshpass/identity';
import { sql } from 'kysely';
import type { Store } from '../../store/open.ts';
import { AUDITED, FENCED, MOVED, REPLAYED } from '../../store/write-batch.ts';
import { type Chain, createChain } from './chain.ts';
import type { AuditRow } from './event.ts';
import type { SealedRow } from './leaf.ts';

/** Columns of a row, as the database unpacks them from JSON. */
type Row = Readonly<Record<string, string | null>>;

/** What one request wants written: all of it, or nothing. */
export interface Entry {
  /** Refused with `proof_replayed` when the key has been seen and has not expired. */
  readonly replay?: { readonly key: string; readonly expiresAt: string };
  readonly closed?: readonly { readonly id: string; readonly closed_at: string; readonly close_cause: string }[];
  readonly opened?: { readonly session: Row; readonly principals: readonly Row[] };
  /** Grants of a session, and its end, as they are from now on. Of several in a batch the last counts. */
  readonly narrowed?: { readonly id: string; readonly grants: string; readonly expires_at: string };
  /** Principals of grants that a live session gains. */
  readonly gained?: readonly Row[];
  /** Sign-ins of a live session, all of them: JSON text. */
  readonly signIns?: { readonly id: string; readonly sign_ins: string };
  readonly revoked?: readonly {
    readonly session_id: string;
    readonly grant_name: string;
    readonly spiffe_id: string;
    readonly revoked_at: string;
    readonly revoke_cause: string;
  }[];
  readonly certificates?: readonly {
    readonly session_id: string;
    readonly grant_name: string;
    readonly spiffe_id: string;
    readonly last_not_after: string;
  }[];
  /** Requests for approval, as they are from now on. */
  readonly approvals?: readonly Row[];
  /** A session of an operator. */
  readonly operator?: Row;
  /** One whose person the issuer has confirmed. One confirmation of a session at a time. */
  readonly operatorConfirmed?: {
    readonly id: string;
    readonly confirmed_at: string;
    readonly login: string;
    readonly attestation: string;
  };
  /** An action of an operator that waits for a second person. */
  readonly confirmation?: Row;
  readonly confirmed?: { readonly id: string; readonly closed_at: string; readonly confirmed_by: string | null };
  readonly operatorsClosed?: readonly {
    readonly id: string;
    readonly closed_at: string;
    readonly close_cause: string;
  }[];
  /** Messages to webhooks. */
  readonly deliveries?: readonly Row[];
  /** An access file that is in force. */
  readonly access?: Row;
  /** What stands for the rows of the audit log up to `size` from now on. */
  readonly cut?: {
    readonly size: number;
    readonly hash: string;
    readonly peaks: string;
    readonly note: string;
    readonly time: string;
  };
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
  /** The end of the audit log; made from the store where absent. Nothing else may write to it. */
  readonly chain?: Chain;
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
  const { store, chain = createChain(store.db), onFailure } = options;

  async function run(): Promise<void> {
    while (waiting.length > 0) {
      if (gatherMs > 0 && waiting.length < MAX_BATCH) await new Promise((resolve) => setTimeout(resolve, gatherMs));
      const batch = waiting.splice(0, MAX_BATCH);
      const began = performance.now();
      await commit({ store, chain, onFailure }, batch);
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

interface Target {
  readonly store: Store;
  readonly chain: Chain;
  readonly onFailure: ((cause: unknown) => void) | undefined;
}

interface Attempt {
  /** Sessions of the same workspaces are closed: see `abandoned` in store/write-batch.ts. */
  readonly abandoned: boolean;
  /** Ids of audit rows that are durable already. */
  readonly audited: ReadonlySet<string>;
  /** How often the audit log may still have gone on without us. */
  readonly moves: number;
}

const FIRST: Attempt = { abandoned: false, audited: new Set(), moves: 3 };

async function commit(target: Target, batch: readonly Waiting[], attempt: Attempt = FIRST): Promise<void> {
  const { store, chain, onFailure } = target;
  // Of two entries with the same proof in one batch the first has it.
  const { fresh, replayed } = splitReplays(batch, new Set());
  for (const one of replayed) one.reject(usedBefore());
  if (fresh.length === 0) return;
  try {
    const entries = fresh.map((one) => one.entry);
    const audit = await chain.seal(rowsOf(entries, attempt.audited));
    await sql`select meshpass_write(${store.epoch}, ${batchText(entries, audit, attempt.abandoned)}::jsonb)`.execute(
      store.db,
    );
    chain.grown(audit);
    for (const one of fresh) one.resolve();
  } catch (thrown) {
    const state = sqlState(thrown);
    if (state === FENCED) store.superseded();
    try {
      if (state === REPLAYED) {
        const rest = splitReplays(fresh, usedKeys(thrown));
        for (const one of rest.replayed) one.reject(usedBefore());
        return await commit(target, rest.fresh, attempt);
      }
      if (state === MOVED && attempt.moves > 0) {
        await chain.reload();
        return await commit(target, fresh, { ...attempt, moves: attempt.moves - 1 });
      }
      if (state === AUDITED && attempt.audited.size === 0) {
        const audited = await auditedAlready(store, fresh);
        return await commit(target, fresh, { ...attempt, audited });
      }
    } catch (cause) {
      return refuseAll(fresh, cause, onFailure);
    }
    if (state === UNIQUE_VIOLATION && !attempt.abandoned)
      return await commit(target, fresh, { ...attempt, abandoned: true });
    if (fresh.length > 1 && state !== undefined && FAULTS_OF_ONE.has(state.slice(0, 2))) {
      for (const one of fresh) await commit(target, [one], { ...attempt, abandoned: true });
      return;
    }
    refuseAll(fresh, thrown, onFailure);
  }
}

function refuseAll(batch: readonly Waiting[], cause: unknown, onFailure: Target['onFailure']): void {
  onFailure?.(cause);
  for (const one of batch) one.reject(unavailable(cause, sqlState(cause)));
}

/** An edge that was not answered reports again, and so does whoever did not hear that a commit succeeded. */
function rowsOf(entries: readonly Entry[], audited: ReadonlySet<string>): AuditRow[] {
  const seen = new Set(audited);
  return entries
    .flatMap((entry) => entry.audit)
    .filter(({ id }) => {
      const known = seen.has(id);
      seen.add(id);
      return !known;
    });
}

async function auditedAlready(store: Store, batch: readonly Waiting[]): Promise<Set<string>> {
  const ids = batch.flatMap(({ entry }) => entry.audit.map((row) => row.id));
  const rows = await store.db.selectFrom('audit').select('id').where('id', 'in', ids).execute();
  return new Set(rows.map((row) => row.id));
}

const UNIQUE_VIOLATION = '23505';
/**
 * Classes of SQLSTATE that are the fault of one entry, while the others of its batch are innocent: data exceptions, integrity violations, and
 * 21000, which PostgreSQL answers where two entries update the same row. Each in a transaction of its own, in their order, both are written.
 */
const FAULTS_OF_ONE: ReadonlySet<string> = new Set(['21', '22', '23']);

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
function batchText(entries: readonly Entry[], audit: readonly SealedRow[], abandoned: boolean): string {
  const parts: Record<string, readonly unknown[]> = {
    proofs: entries.flatMap(({ replay }) => (replay ? [{ key: replay.key, expires_at: replay.expiresAt }] : [])),
    closed: entries.flatMap((entry) => entry.closed ?? []),
    sessions: entries.flatMap((entry) => (entry.opened ? [entry.opened.session] : [])),
    principals: entries.flatMap((entry) => entry.opened?.principals ?? []),
    narrowed: [...new Map(entries.flatMap(({ narrowed }) => (narrowed ? [[narrowed.id, narrowed]] : []))).values()],
    gained: entries.flatMap((entry) => entry.gained ?? []),
    sign_ins: entries.flatMap((entry) => entry.signIns ?? []),
    revoked: entries.flatMap((entry) => entry.revoked ?? []),
    certificates: entries.flatMap((entry) => entry.certificates ?? []),
    approvals: entries.flatMap((entry) => entry.approvals ?? []),
    deliveries: entries.flatMap((entry) => entry.deliveries ?? []),
    audit,
    access: entries.flatMap((entry) => (entry.access ? [entry.access] : [])),
    operators: entries.flatMap((entry) => (entry.operator ? [entry.operator] : [])),
    operators_confirmed: entries.flatMap((entry) => (entry.operatorConfirmed ? [entry.operatorConfirmed] : [])),
    operators_closed: entries.flatMap((entry) => entry.operatorsClosed ?? []),
    confirmations: entries.flatMap((entry) => (entry.confirmation ? [entry.confirmation] : [])),
    confirmed: entries.flatMap((entry) => (entry.confirmed ? [entry.confirmed] : [])),
    cuts: entries.flatMap((entry) => entry.cut ?? []),
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

/** What has been taken is refused the second time. */
export function usedBefore(): MeshpassError {
  return new MeshpassError('proof_replayed', 'This proof has been used before; obtain a new one.');
}

function unavailable(cause: unknown, state: string | undefined): MeshpassError {
  const message =
    state === FENCED
      ? 'Another broker has taken over; try again.'
      : 'The broker cannot write to its store; nothing was issued.';
  return new MeshpassError('store_unavailable', message, { cause, retryAfter: 2 });
}
