/** Before a broker can serve, some things have to be asked of Kubernetes, however long it is away. */
import { setTimeout as pause } from 'node:timers/promises';
import { toMeshpassError } from '@meshpass/identity';

export interface Patience {
  /** Is told of each time that Kubernetes did not answer. */
  readonly onFailure: (cause: unknown) => void;
  /** Ends the waiting. */
  readonly signal?: AbortSignal | undefined;
}

const ASK_AGAIN_MS = 2_000;

/**
 * Asks again while Kubernetes does not answer.
 * @throws what `ask` throws but `kubernetes_unavailable`; AbortError where the signal ends the waiting
 */
export async function untilItAnswers<T>(ask: () => Promise<T>, { onFailure, signal }: Patience): Promise<T> {
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
