/**
 * An access file that was submitted, not read from disk, and the caller waiting for it to come into force. At most one
 * at a time.
 */

import type { Access } from '@meshpass/access';
import { MeshpassError } from '@meshpass/identity';

/** Maximum time that a caller waits for an access file to come into force. */
const LONGEST_WAIT_MS = 25_000;

/** Creates the record. No caller is waiting yet. */
export function createPendingChange() {
  let waiting: { readonly access: Access; readonly done: PromiseWithResolvers<void> } | undefined;
  return {
    /**
     * Waits for the file; a caller that waits for another file gets `plan_stale`.
     * @param onLate called on a timeout; must call `refuse`
     * @throws MeshpassError with the reason why it is not in force
     */
    wait: async (access: Access, onLate: () => void) => {
      waiting?.done.reject(new MeshpassError('plan_stale', 'Another access file arrived in the meantime.'));
      const done = Promise.withResolvers<void>();
      waiting = { access, done };
      const late = setTimeout(() => {
        if (waiting?.done === done) onLate();
      }, LONGEST_WAIT_MS);
      await done.promise.finally(() => clearTimeout(late));
    },
    /** Whether a caller is waiting. */
    isOpen: () => waiting !== undefined,
    /** Whether a caller is waiting for this file. */
    isFor: (access: Access) => waiting?.access === access,
    /** Resolves the wait if the file is the awaited one. */
    settle: (access: Access) => {
      if (waiting?.access !== access) return;
      waiting.done.resolve();
      waiting = undefined;
    },
    /** @returns whether a caller was waiting, and so received the error */
    refuse: (error: MeshpassError) => {
      if (!waiting) return false;
      waiting.done.reject(error);
      waiting = undefined;
      return true;
    },
  };
}
