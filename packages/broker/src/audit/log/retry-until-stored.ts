/** Performs writes that must reach the store, no matter how long it is unavailable. */
import { toMeshpassError } from '@meshpass/identity';
import type { AuditRow } from './event.ts';
import type { Journal } from './journal.ts';
import type { CollectChanges } from './unit.ts';

export interface RetryUntilStoredContext {
  readonly journal: Pick<Journal, 'transaction'>;
  readonly onFailure: (cause: unknown) => void;
}

const RETRY_MS = 1_000;

/**
 * Retries a write until the store has it. Without this, a session that has ended in memory would be live again after a
 * restart, for example.
 * @param changes called for each attempt, because the changes may differ
 */
export async function retryUntilStored(
  { journal, onFailure }: RetryUntilStoredContext,
  changes: CollectChanges,
): Promise<void> {
  for (;;) {
    try {
      return await journal.transaction(changes);
    } catch (thrown) {
      // The journal is full because many sessions are ending at the same time. Waiting for it is not a failure.
      if (toMeshpassError(thrown).code !== 'overloaded') onFailure(thrown);
      await new Promise((resolve) => setTimeout(resolve, RETRY_MS).unref());
    }
  }
}

/**
 * Starts writing audit rows for counted refusals periodically, and one last time when the broker stops. Counting
 * continues while the store is unavailable.
 * @param ms the interval in milliseconds
 * @param take removes and returns the rows that are due
 * @returns a function that passes the last rows to the journal and stops
 */
export function writeCountedRefusals(
  context: RetryUntilStoredContext,
  ms: number,
  take: () => readonly AuditRow[],
): () => void {
  let isWriting = false;
  const write = async () => {
    if (isWriting) return;
    const rows = take();
    if (rows.length === 0) return;
    isWriting = true;
    await retryUntilStored(context, (tx) => tx.audit(...rows));
    isWriting = false;
  };
  const timer = setInterval(write, ms).unref();
  return () => {
    clearInterval(timer);
    void write();
  };
}
