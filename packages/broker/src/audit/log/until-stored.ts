/** Writes that must reach the store, however long it is unavailable. */
import { toMeshpassError } from '@meshpass/identity';
import type { Journal } from './journal.ts';
import type { Changes } from './unit.ts';

export interface UntilStoredContext {
  readonly journal: Pick<Journal, 'transaction'>;
  readonly onFailure: (cause: unknown) => void;
}

const RETRY_MS = 1_000;

/**
 * Retries a write until the store has it. Otherwise, a session that has ended in memory, for example, would be back
 * after a restart.
 * @param changes called for every attempt, because the changes may differ
 */
export async function untilStored({ journal, onFailure }: UntilStoredContext, changes: Changes): Promise<void> {
  for (;;) {
    try {
      return await journal.transaction(changes);
    } catch (thrown) {
      // The journal is full because many sessions are ending at once. They wait; this is not a failure.
      if (toMeshpassError(thrown).code !== 'overloaded') onFailure(thrown);
      await new Promise((resolve) => setTimeout(resolve, RETRY_MS).unref());
    }
  }
}
