/**
 * Serializes the writes for a workspace's sessions. A loss takes effect in memory immediately and is stored afterwards
 * (`cut`). Openings and gains take effect only after they were stored (`inTurn`). Each transaction for a workspace
 * includes all cuts that are not stored yet, so a gain is never stored without the losses that preceded it.
 */
import { type CollectChanges, type Journal, retryUntilStored } from '../../audit/index.ts';
import { type KeyedMutex, runExclusive } from '../../base/index.ts';

/** Changes to write to the store, and a callback that applies them in memory. */
export interface Write {
  readonly changes: CollectChanges;
  /** Called after the changes were stored (`Journal.transaction`). */
  readonly written: () => void;
}

/** Adds a workspace's pending cuts (those that are not stored yet) to a write. */
export type WithPendingCuts = (write: Write) => Write;

/** Queue of writes for sessions. Workspaces are identified by their key. */
export type WriteQueue = ReturnType<typeof createWriteQueue>;

/** Creates the write queue. `onFailure` is called with the error of each attempt that will be retried. */
export function createWriteQueue(journal: Journal, onFailure: (cause: unknown) => void) {
  const turns: KeyedMutex = new Map();
  /** Pending cuts by workspace, oldest first. */
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
     * Runs `act` after the outcome of the workspace's earlier writes is known.
     * @param act must pass its write through `together`, which adds the pending cuts
     * @throws MeshpassError `store_unavailable` or `overloaded` if the outcome of an earlier write is unknown; any
     *   error from `act`
     */
    inTurn,
    /**
     * Stores a cut that has already taken effect in memory. Retries until the cut is stored, because otherwise the lost
     * access would come back after a restart.
     * @returns after the cut was stored
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
    /** Resolves when no write is in progress. Cuts that the store rejected may still be waiting for a retry. */
    flush: async () => {
      while (turns.size > 0) await Promise.allSettled(turns.values());
    },
  };
}
