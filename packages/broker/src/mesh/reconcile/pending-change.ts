/**
 * An access file that was submitted, not read from disk, and the caller waiting for it to come into force. At most one
 * at a time.
 */

import type { Access } from '@meshpass/access';
import { MeshpassError } from '@meshpass/identity';

export interface PendingChange {
  /**
   * Waits for the file; a caller that waits for another file gets `plan_stale`.
   * @param onLate called on a timeout; must call `refuse`
   * @throws MeshpassError with the reason why it is not in force
   */
  wait(access: Access, onLate: () => void): Promise<void>;
  /** Whether a caller is waiting. */
  readonly isOpen: () => boolean;
  /** Whether a caller is waiting for this file. */
  readonly isFor: (access: Access) => boolean;
  /** Resolves the wait if the file is the awaited one. */
  settle(access: Access): void;
  /** @returns whether a caller was waiting, and so received the error */
  refuse(error: MeshpassError): boolean;
}

/** Maximum time that a caller waits for an access file to come into force. */
const LONGEST_WAIT_MS = 25_000;

/** Creates the record. No caller is waiting yet. */
export function createPendingChange(): PendingChange {
  let waiting: { readonly access: Access; readonly done: PromiseWithResolvers<void> } | undefined;
  return {
    wait: async (access, onLate) => {
      waiting?.done.reject(new MeshpassError('plan_stale', 'Another access file arrived in the meantime.'));
      const done = Promise.withResolvers<void>();
      waiting = { access, done };
      const late = setTimeout(() => {
        if (waiting?.done === done) onLate();
      }, LONGEST_WAIT_MS);
      await done.promise.finally(() => clearTimeout(late));
    },
    isOpen: () => waiting !== undefined,
    isFor: (access) => waiting?.access === access,
    settle: (access) => {
      if (waiting?.access !== access) return;
      waiting.done.resolve();
      waiting = undefined;
    },
    refuse: (error) => {
      if (!waiting) return false;
      waiting.done.reject(error);
      waiting = undefined;
      return true;
    },
  };
}
