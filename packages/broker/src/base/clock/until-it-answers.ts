/** Retries requests that must succeed before a broker can serve, no matter how long Kubernetes is unavailable. */
import { setTimeout as pause } from 'node:timers/promises';
import { toMeshpassError } from '@meshpass/identity';

export interface RetryOptions {
  /** Called after each failed attempt. */
  readonly onFailure: (cause: unknown) => void;
  /** Ends the retries. */
  readonly signal?: AbortSignal | undefined;
}

const ASK_AGAIN_MS = 2_000;

/**
 * Retries a request while Kubernetes is unavailable.
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
