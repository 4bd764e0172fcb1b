/**
 * Retries requests that must succeed before a broker can start serving, no matter how long Kubernetes is unavailable.
 */
import { setTimeout as pause } from 'node:timers/promises';
import { toMeshpassError } from '@meshpass/identity';

export interface RetryOptions {
  /** Called after each failed attempt. */
  readonly onFailure: (cause: unknown) => void;
  /** Aborting this signal stops the retries. */
  readonly signal?: AbortSignal | undefined;
}

const ASK_AGAIN_MS = 2_000;

/**
 * Sends a request and retries it for as long as Kubernetes is unavailable.
 * @throws errors from `ask` other than `kubernetes_unavailable`; AbortError if the signal ends the retries
 */
export async function retryWhileUnavailable<T>(ask: () => Promise<T>, { onFailure, signal }: RetryOptions): Promise<T> {
  for (;;) {
    try {
      return await ask();
    } catch (thrown) {
      if (toMeshpassError(thrown).code !== 'kubernetes_unavailable') throw thrown;
      onFailure(thrown);
      await pause(ASK_AGAIN_MS, undefined, signal && { signal });
    }
  }
}
