/**
 * Serializes the writes for a workspace's sessions. When a session loses access, the removal takes effect in memory
 * immediately and is stored afterwards (`cut`). New sessions and grants take effect only after they have been stored
 * (`inTurn`). Every transaction for a workspace includes all access removals that have not been stored yet, so a gain
 * is never stored without the losses that preceded it.
 */
import {
  type AuditContext,
  type AuditEvent,
  type CollectChanges,
  type Journal,
  recordAllowed,
  retryUntilStored,
} from '../../audit/index.ts';
import { type KeyedMutex, runExclusive } from '../../base/index.ts';

/** Changes to write to the store, together with a callback that applies them in memory. */
export interface Write {
  readonly changes: CollectChanges;
  /** Called after the changes have been stored (see `Journal.transaction`). */
  readonly written: () => void;
}

/**
 * Stores a write of a workspace, together with its pending access removals (those that have not been stored yet).
 * @param event the audit event of the decision, if the write is one
 */
export type StoreWrite = (write: Write, event?: AuditEvent) => Promise<void>;

/** A queue of writes for sessions, in which workspaces are identified by their key. */
export type WriteQueue = ReturnType<typeof createWriteQueue>;

/** Creates the write queue. `onFailure` is called with the error of each attempt that will be retried. */
export function createWriteQueue(audit: AuditContext, onFailure: (cause: unknown) => void) {
  const { journal } = audit;
  const turns: KeyedMutex = new Map();
  /** The access removals that have not been stored yet, keyed by workspace. The oldest removal comes first. */
  const unstored = new Map<string, readonly CollectChanges[]>();

  const storeFor =
    (workspace: string): StoreWrite =>
    async ({ changes, written }, event) => {
      const cuts = unstored.get(workspace) ?? [];
      const all: CollectChanges = (tx) => {
        for (const cut of cuts) cut(tx);
        changes(tx);
      };
      const stored = () => {
        const left = (unstored.get(workspace) ?? []).filter((cut) => !cuts.includes(cut));
        if (left.length === 0) unstored.delete(workspace);
        else unstored.set(workspace, left);
        written();
      };
      if (event) await recordAllowed(audit, event, all, stored);
      else await journal.transaction(all, stored);
    };

  const inTurn = <T>(workspace: string, act: (store: StoreWrite) => Promise<T>): Promise<T> =>
    runExclusive(turns, workspace, async () => {
      await journal.settled();
      return await act(storeFor(workspace));
    });

  return {
    /**
     * Runs `act` once the outcome of the workspace's earlier writes is known.
     * @param act must use the given function to store its write
     * @throws MeshpassError `store_unavailable` or `overloaded` if the outcome of an earlier write is unknown, and any
     *   error that `act` throws
     */
    inTurn,
    /**
     * Stores a removal of access that has already taken effect in memory. The write is retried until it succeeds,
     * because otherwise the access would come back after a restart.
     * @returns a promise that resolves once the removal has been stored
     */
    cut: async (workspace: string, changes: CollectChanges) => {
      unstored.set(workspace, [...(unstored.get(workspace) ?? []), changes]);
      const lacks = () => unstored.get(workspace)?.includes(changes);
      const transaction: Journal['transaction'] = (record, written = () => {}) =>
        inTurn(workspace, async (store) => {
          if (lacks()) await store({ changes: record, written });
        });
      await retryUntilStored({ journal: { transaction }, onFailure }, () => {});
    },
    /**
     * Resolves when no write is in progress. Access removals that the store rejected may still be waiting to be
     * retried.
     */
    flush: async () => {
      while (turns.size > 0) await Promise.allSettled(turns.values());
    },
  };
}
