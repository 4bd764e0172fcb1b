/**
 * Serializes the writes of a workspace's sessions. A loss takes effect in memory at once and is stored afterwards
 * (`cut`). Openings and gains take effect once they are stored (`inTurn`). Each transaction of a workspace includes all
 * cuts that are not stored yet, so no later gain is stored without the losses before it.
 */
import { type CollectChanges, type Journal, retryUntilStored } from '../../audit/index.ts';
import { type KeyedMutex, runExclusive } from '../../base/index.ts';

/** Changes to write, and their effect in memory once the store has them. */
export interface Write {
  readonly changes: CollectChanges;
  /** Called once the changes are stored (`Journal.transaction`). */
  readonly written: () => void;
}

/** Adds the cuts of a workspace that are not stored yet to a write in its turn. */
export type WithPendingCuts = (write: Write) => Write;

/** Ordered writes of sessions. A workspace is identified by its key. */
export type WriteQueue = ReturnType<typeof createWriteQueue>;

/** Creates the write queue. `onFailure` receives the errors of attempts that are retried. */
export function createWriteQueue(journal: Journal, onFailure: (cause: unknown) => void) {
  const turns: KeyedMutex = new Map();
  /** Cuts that are not stored yet, oldest first, by workspace. */
  const unstored = new Map<string, readonly CollectChanges[]>();

  const together =
    (workspace: string): WithPendingCuts =>
    ({ changes, written }) => {
      const cuts = unstored.get(workspace) ?? [];
      return {
        changes: (tx) => {
          for (const cut of cuts) cut(tx);
          changes(tx);
        },
        written: () => {
          const left = (unstored.get(workspace) ?? []).filter((cut) => !cuts.includes(cut));
          if (left.length === 0) unstored.delete(workspace);
          else unstored.set(workspace, left);
          written();
        },
      };
    };

  const inTurn = <T>(workspace: string, act: (together: WithPendingCuts) => Promise<T>): Promise<T> =>
    runExclusive(turns, workspace, async () => {
      await journal.settled();
      return await act(together(workspace));
    });

  return {
    /**
     * Runs `act` after the workspace's earlier writes, once their outcome is known.
     * @param act writes what `together` returns: its changes plus the cuts that are not stored yet
     * @throws MeshpassError `store_unavailable`, `overloaded` if the outcome of an earlier write is unknown; errors of
     *   `act`
     */
    inTurn,
    /**
     * Stores a cut that has already taken effect in memory. Retries until it is stored, because otherwise lost access
     * would come back after a restart.
     * @returns once the store has it
     */
    cut: async (workspace: string, changes: CollectChanges) => {
      unstored.set(workspace, [...(unstored.get(workspace) ?? []), changes]);
      const lacks = () => unstored.get(workspace)?.includes(changes);
      const transaction: Journal['transaction'] = (record, written = () => {}) =>
        inTurn(workspace, async (withCuts) => {
          if (!lacks()) return;
          const all = withCuts({ changes: record, written });
          await journal.transaction(all.changes, all.written);
        });
      await retryUntilStored({ journal: { transaction }, onFailure }, () => {});
    },
    /** Resolves when no write is running. Cuts that the store rejected may still be waiting for their next attempt. */
    flush: async () => {
      while (turns.size > 0) await Promise.allSettled(turns.values());
    },
  };
}
