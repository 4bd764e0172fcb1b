/**
 * Writes everything that must outlive the process. A promise resolves once its transaction is durable. Concurrent
 * requests share one database transaction (group commit), so that all of them need only one disk sync and one run of
 * each statement.
 */
import { MeshpassError } from '@meshpass/identity';
import { FencedError, type Step, type Store, toStep, UnexpectedRows } from '../../store/index.ts';
import type { SealedRow } from './chain.ts';
import type { AuditRow } from './event.ts';
import { type AuditChain, createAuditChain } from './log-end.ts';
import { APPEND_ROWS, CONSUME_PROOFS } from './statements.ts';
import { type CollectChanges, collectUnit, type Unit } from './unit.ts';

export type Journal = ReturnType<typeof createJournal>;

export interface JournalOptions {
  readonly store: Store;
  /** The end of the audit log. Read from the store by default. No other process may write to the log. */
  readonly chain?: AuditChain;
  /** Called after each batch with the number of transactions and how long they took, in seconds. */
  readonly observe?: (transactions: number, seconds: number) => void;
  readonly onFailure?: (cause: unknown) => void;
}

const MAX_BATCH = 256;
/**
 * The maximum number of audit rows in a batch of more than one transaction, so that large reports do not add up to one
 * huge statement.
 */
const MAX_BATCH_ROWS = 2_000;
const MAX_WAITING = 8_192;
/**
 * How long a batch waits for more requests while requests arrive concurrently, as a multiple of the duration of the
 * last transaction.
 */
const GATHER_SHARE = 1;
/** The maximum time that a batch waits for more requests, in milliseconds. */
const MAX_GATHER_MS = 8;

/** How long to wait before querying the store again about lost responses, in milliseconds. */
const RETRY_MS = 1_000;

interface Waiting {
  readonly unit: Unit;
  /**
   * Whether to write the unit in its own transaction, because its previous batch contained a unit that was rejected.
   */
  readonly alone: boolean;
  readonly written: () => void;
  readonly resolve: () => void;
  readonly reject: (error: unknown) => void;
}

/** Creates the journal, which must be the only writer of the audit log. */
export function createJournal(options: JournalOptions) {
  const waiting: Waiting[] = [];
  let running: Promise<void> | undefined;
  let retry: NodeJS.Timeout | undefined;
  let gatherMs = 0;
  const { store, chain = createAuditChain(store.db), onFailure } = options;
  /**
   * The transactions that the store may have written even though its response was lost. Those without an audit row are
   * not tracked, and may be repeated.
   */
  let inDoubt: readonly Waiting[] = [];

  async function run(): Promise<void> {
    do {
      if (gatherMs > 0 && waiting.length < MAX_BATCH) await new Promise((resolve) => setTimeout(resolve, gatherMs));
      const batch = waiting.splice(0, batchLength(waiting));
      const began = performance.now();
      try {
        await settleInDoubt();
        await commit(batch);
      } catch (cause) {
        refuseAll(batch, cause);
      }
      const took = performance.now() - began;
      gatherMs = batch.length > 1 ? Math.min(took * GATHER_SHARE, MAX_GATHER_MS) : 0;
      options.observe?.(batch.length, took / 1000);
    } while (waiting.length > 0);
    gatherMs = 0;
    running = undefined;
    if (inDoubt.length > 0) retry ??= setTimeout(kick, RETRY_MS).unref();
  }

  function kick(): void {
    clearTimeout(retry);
    retry = undefined;
    running ??= Promise.resolve().then(run);
  }

  async function commit(batch: readonly Waiting[], attempt: Attempt = FIRST): Promise<void> {
    // If two transactions in a batch use the same proof, only the first of them succeeds.
    const fresh = refuseReplays(batch, new Set());
    if (fresh.length === 0) return;
    const units = fresh.map((one) => one.unit);
    try {
      const audit = await chain.seal(rowsOf(units, attempt.audited));
      await store.commit(stepsOf(units, audit));
      chain.grown(audit);
      for (const one of fresh) takeEffect(one);
    } catch (thrown) {
      if (thrown instanceof UnexpectedRows && thrown.step.name === CONSUME_PROOFS.name)
        return await commit(refuseReplays(fresh, usedKeys(units, thrown)), attempt);
      if (thrown instanceof UnexpectedRows && attempt.retries > 0) {
        let audited: ReadonlySet<string>;
        try {
          audited = await findStoredUnitIds(store, units);
          // The log may also have been extended by a transaction whose response was lost.
          if (audited.size === attempt.audited.size) await chain.reload();
        } catch (cause) {
          return refuseAll(fresh, cause);
        }
        return await commit(fresh, { audited, retries: attempt.retries - 1 });
      }
      if (fresh.length > 1 && isUnitFault(thrown)) {
        waiting.unshift(...fresh.map((one) => ({ ...one, alone: true })));
        return;
      }
      const isUnknown = mayHaveCommitted(thrown);
      if (isUnknown) inDoubt = [...inDoubt, ...fresh.filter(({ unit }) => unit.audit.length > 0)];
      refuseAll(fresh, thrown, isUnknown);
    }
  }

  /**
   * Checks which of the transactions whose response was lost are in the store, and completes them. This happens before
   * anything else is written.
   * @throws store errors, in which case the outcomes are still unknown
   */
  async function settleInDoubt(): Promise<void> {
    if (inDoubt.length === 0) return;
    // Wait for transactions that are still running even though their connection was lost.
    await store.commit([]);
    const audited = await findStoredUnitIds(
      store,
      inDoubt.map(({ unit }) => unit),
    );
    if (audited.size > 0) await chain.reload();
    const known = inDoubt;
    inDoubt = [];
    for (const one of known) if (one.unit.audit.every(({ id }) => audited.has(id))) takeEffect(one);
  }

  /**
   * Completes a transaction once the store has written it. If its response was lost, the promise has already been
   * rejected, and settling it again has no effect.
   */
  function takeEffect({ written, resolve, reject }: Waiting): void {
    try {
      written();
      resolve();
    } catch (cause) {
      onFailure?.(cause);
      reject(cause);
    }
  }

  function refuseAll(batch: readonly Waiting[], cause: unknown, isUnknown = false): void {
    onFailure?.(cause);
    for (const one of batch) one.reject(unavailable(cause, isUnknown));
  }

  const transaction = async (record: CollectChanges, written: () => void = () => {}) => {
    const unit = collectUnit(record);
    if (waiting.length >= MAX_WAITING)
      throw new MeshpassError('overloaded', 'The broker is overloaded; try again.', { retryAfter: 2 });
    await new Promise<void>((resolve, reject) => {
      waiting.push({ unit, alone: false, written, resolve, reject });
      kick();
    });
  };

  return {
    /**
     * Runs `record` and writes the changes that it collects.
     * @param written called as soon as the store is known to have the changes, before the returned promise resolves. If
     *   the store's response was lost, it may be called after the promise was rejected, because the journal checks what
     *   the store has before it writes anything else. The journal identifies transactions by their audit rows, so it
     *   cannot find a transaction that has none
     * @throws MeshpassError `store_unavailable`, `overloaded`, `proof_replayed`. Nothing was written in that case,
     *   unless the store's response was lost
     */
    transaction,
    /**
     * Resolves when the outcome of every earlier transaction is known.
     * @throws MeshpassError `store_unavailable`, `overloaded`
     */
    settled: async () => {
      if (inDoubt.length > 0) await transaction(() => {});
    },
    /** Resolves when all transactions so far have become durable or have been rejected. */
    flush: async () => {
      while (running) await running;
    },
  };
}

function batchLength(waiting: readonly Waiting[]): number {
  let rows = 0;
  const beyond = waiting.findIndex(({ unit }, index) => {
    rows += unit.audit.length;
    return index === MAX_BATCH || (index > 0 && (rows > MAX_BATCH_ROWS || waiting[index - 1]!.alone));
  });
  return beyond === -1 ? waiting.length : beyond;
}

interface Attempt {
  /** The ids of audit rows that are already durable. */
  readonly audited: ReadonlySet<string>;
  /** How many more times to retry if the log does not end as expected. */
  readonly retries: number;
}

const FIRST: Attempt = { audited: new Set(), retries: 3 };

/** Merges all units into ordered steps. Each statement runs only once, with the rows from all units. */
function stepsOf(units: readonly Unit[], audit: readonly SealedRow[]): readonly Step[] {
  const proofs = units.flatMap(({ proof }) => (proof ? [{ key: proof.key, expires_at: proof.expiresAt }] : []));
  const writes = Map.groupBy(
    units.flatMap((unit) => unit.writes),
    ([statement]) => statement,
  );
  const changes = [...writes]
    .sort(([a], [b]) => a.place - b.place)
    .map(([statement, own]) => toStep(statement, own.flatMap(([, rows]) => rows) as never[]));
  return [
    ...(proofs.length > 0 ? [toStep(CONSUME_PROOFS, proofs, proofs.length)] : []),
    ...changes,
    ...(audit.length > 0 ? [toStep(APPEND_ROWS, audit, audit.length)] : []),
  ];
}

/**
 * Returns the audit rows without duplicates. Duplicates occur when an edge reports again after getting no response, or
 * when a writer repeats a commit because it did not notice that the first one succeeded.
 */
function rowsOf(units: readonly Unit[], audited: ReadonlySet<string>): AuditRow[] {
  const seen = new Set(audited);
  return units
    .flatMap((unit) => unit.audit)
    .filter(({ id }) => {
      const known = seen.has(id);
      seen.add(id);
      return !known;
    });
}

/**
 * Rejects the transactions whose proof has already been used.
 * @param used the keys of used proofs, to which those of the other transactions are added
 * @returns the other transactions
 */
function refuseReplays(batch: readonly Waiting[], used: Set<string>): readonly Waiting[] {
  return batch.filter(({ unit: { proof }, reject }) => {
    if (!proof) return true;
    const isReplayed = used.has(proof.key);
    if (isReplayed) reject(new MeshpassError('proof_replayed', 'This proof has already been used. Obtain a new one.'));
    used.add(proof.key);
    return !isReplayed;
  });
}

function usedKeys(units: readonly Unit[], { rows }: UnexpectedRows): Set<string> {
  const fresh = new Set((rows as readonly { key: string }[]).map(({ key }) => key));
  return new Set(units.flatMap(({ proof }) => (proof && !fresh.has(proof.key) ? [proof.key] : [])));
}

/** Returns the ids of the units' audit rows that are in the store. */
async function findStoredUnitIds(store: Store, units: readonly Unit[]): Promise<Set<string>> {
  const ids = units.flatMap(({ audit }) => audit.map((row) => row.id));
  const rows = await store.db.selectFrom('audit').select('id').where('id', 'in', ids).execute();
  return new Set(rows.map((row) => row.id));
}

/** Whether a transaction that failed with this error may still have been written. */
function mayHaveCommitted(thrown: unknown): boolean {
  return !isUnitFault(thrown) && !NOT_WRITTEN.some((kind) => thrown instanceof kind);
}

/** Errors that guarantee that no part of the transaction is in the store. */
const NOT_WRITTEN = [FencedError, UnexpectedRows, MeshpassError];

/**
 * The SQLSTATE classes of errors that a single unit in a batch can cause: data exceptions, integrity violations, 21000
 * (two units update the same row) and 54000 (a value is too large for an index). After such an error, the units are
 * written one by one, in order.
 */
const FAULTS_OF_ONE: ReadonlySet<string> = new Set(['21', '22', '23', '54']);

/** Whether the store rejected a transaction because of one of its units. */
function isUnitFault(thrown: unknown): boolean {
  const { code } = (thrown ?? {}) as { code?: unknown };
  return typeof code === 'string' && code.length === 5 && FAULTS_OF_ONE.has(code.slice(0, 2));
}

function unavailable(cause: unknown, isUnknown: boolean): MeshpassError {
  let message = 'The broker cannot write to its store. Nothing was issued.';
  if (cause instanceof FencedError) message = 'Another broker has taken over; try again.';
  if (isUnknown)
    message =
      'The store did not respond, so the broker does not know yet whether this was written. Check before you retry.';
  return new MeshpassError('store_unavailable', message, { cause, retryAfter: 2 });
}
