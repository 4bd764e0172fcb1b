/**
 * Transactions whose answer from the store was lost. Before the journal writes anything else, it asks the store which
 * of them it has.
 */
import { MeshpassError } from '@meshpass/identity';
import { FencedError, type Store, UnexpectedRows } from '../../store/index.ts';
import type { AuditChain } from './log-end.ts';
import type { Unit } from './unit.ts';

/**
 * Creates the list of transactions with an unknown outcome.
 * @param complete called for each transaction that the store turns out to have
 */
export function createInDoubtTransactions<T extends { readonly unit: Unit }>(
  store: Store,
  chain: AuditChain,
  complete: (one: T) => void,
) {
  let unknown: readonly T[] = [];
  return {
    /**
     * Adds transactions that the store may have. Transactions without an audit row are not tracked; they may be
     * repeated.
     */
    add: (batch: readonly T[]) => {
      unknown = [...unknown, ...batch.filter(({ unit }) => unit.audit.length > 0)];
    },
    any: () => unknown.length > 0,
    /**
     * Finds out which of the transactions the store has, and completes them.
     * @throws store errors; the outcome is still unknown then
     */
    settle: async () => {
      if (unknown.length === 0) return;
      // Waits for a transaction that still runs because only its connection was lost.
      await store.commit([]);
      const units = unknown.map(({ unit }) => unit);
      const audited = await findStoredUnitIds(store, units);
      if (audited.size > 0) await chain.reload();
      const known = unknown;
      unknown = [];
      for (const one of known) if (one.unit.audit.every(({ id }) => audited.has(id))) complete(one);
    },
  };
}

/** Returns the ids of the units' audit rows that are in the store. */
export async function findStoredUnitIds(store: Store, units: readonly Unit[]): Promise<Set<string>> {
  const ids = units.flatMap(({ audit }) => audit.map((row) => row.id));
  const rows = await store.db.selectFrom('audit').select('id').where('id', 'in', ids).execute();
  return new Set(rows.map((row) => row.id));
}

/** The store did not answer but may have written. */
export class LostResponseError extends Error {
  constructor(cause: unknown) {
    super('the response from the store was lost', { cause });
  }
}

/** Whether the store may have written a transaction that failed with this error. */
export function mayHaveCommitted(thrown: unknown): boolean {
  return !isUnitFault(thrown) && !NOT_WRITTEN.some((kind) => thrown instanceof kind);
}

/** Errors that mean that no part of the transaction is in the store. */
const NOT_WRITTEN = [FencedError, UnexpectedRows, MeshpassError];

/**
 * SQLSTATE classes caused by a single unit of a batch: data exceptions, integrity violations, 21000, which PostgreSQL
 * raises if two units update the same row, and 54000, which it raises if a value is too large for an index. The units
 * are then written one by one, in order.
 */
const FAULTS_OF_ONE: ReadonlySet<string> = new Set(['21', '22', '23', '54']);

/** Whether the store rejected a transaction because of one of its units. */
export function isUnitFault(thrown: unknown): boolean {
  const { code } = (thrown ?? {}) as { code?: unknown };
  return typeof code === 'string' && code.length === 5 && FAULTS_OF_ONE.has(code.slice(0, 2));
}
