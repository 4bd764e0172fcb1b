/**
 * Keeps track of transactions whose response from the store was lost. Before writing anything else, the journal checks
 * which of them are in the store.
 */
import { MeshpassError } from '@meshpass/identity';
import { FencedError, type Store, UnexpectedRows } from '../../store/index.ts';
import type { AuditChain } from './log-end.ts';
import type { Unit } from './unit.ts';

/**
 * Creates the list of transactions whose outcome is unknown.
 * @param complete called for each transaction that turns out to be in the store
 */
export function createInDoubtTransactions<T extends { readonly unit: Unit }>(
  store: Store,
  chain: AuditChain,
  complete: (one: T) => void,
) {
  let unknown: readonly T[] = [];
  return {
    /**
     * Adds transactions that the store may have written. Those without an audit row are not tracked, and may be
     * repeated.
     */
    add: (batch: readonly T[]) => {
      unknown = [...unknown, ...batch.filter(({ unit }) => unit.audit.length > 0)];
    },
    any: () => unknown.length > 0,
    /**
     * Checks which of the transactions are in the store, and completes them.
     * @throws store errors, in which case the outcomes are still unknown
     */
    settle: async () => {
      if (unknown.length === 0) return;
      // Wait for transactions that are still running even though their connection was lost.
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

/** Thrown if the store did not respond but may have written the transaction. */
export class LostResponseError extends Error {
  constructor(cause: unknown) {
    super('the response from the store was lost', { cause });
  }
}

/** Whether a transaction that failed with this error may still have been written. */
export function mayHaveCommitted(thrown: unknown): boolean {
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
export function isUnitFault(thrown: unknown): boolean {
  const { code } = (thrown ?? {}) as { code?: unknown };
  return typeof code === 'string' && code.length === 5 && FAULTS_OF_ONE.has(code.slice(0, 2));
}
