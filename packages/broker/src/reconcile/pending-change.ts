/** An access file that was given, not read from disk, and whoever waits for it to be in force. One at a time. */

import type { Access } from '@meshpass/access';
import { MeshpassError } from '@meshpass/identity';

export interface PendingChange {
  /**
   * Waits for the file; whoever waited for another one is told that it is stale.
   * @param onLate called where it takes too long; has to call `refuse`
   * @throws MeshpassError why it is not in force
   */
  wait(access: Access, onLate: () => void): Promise<void>;
  /** Whether anybody waits. */
  readonly isOpen: () => boolean;
  /** Whether this very file is waited for. */
  readonly isFor: (access: Access) => boolean;
  /** This file is in force; says nothing where nobody waits for it. */
  settle(access: Access): void;
  /** @returns whether anybody waited, and so was told */
  refuse(error: MeshpassError): boolean;
}

/** How long who gave an access file waits for it to be in force. */
const LONGEST_WAIT_MS = 25_000;

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
