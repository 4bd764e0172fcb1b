/**
 * The label that the Service of several brokers selects by: of the Pod of the active one. A standby's Pod is ready, so that updates and
 * evictions go on, and gets no request.
 */
import { setTimeout as pause } from 'node:timers/promises';
import { type KubernetesHttp, path } from './http.ts';

export const ACTIVE_LABEL = 'meshpass.dev/active';

export interface ActiveLabelOptions {
  readonly http: KubernetesHttp;
  readonly namespace: string;
  /** This process's own. An admission policy lets it change no other. */
  readonly pod: string;
  readonly onFailure: (cause: unknown) => void;
}

export interface ActiveLabel {
  /** Writes it, and tries again until Kubernetes has it or a later call replaces this one. */
  set(active: boolean): void;
  close(): void;
}

const TRY_AGAIN_MS = 1_000;

export function createActiveLabel({ http, namespace, pod, onFailure }: ActiveLabelOptions): ActiveLabel {
  let wanted: AbortController | undefined;
  const write = async (active: boolean, { signal }: AbortController): Promise<void> => {
    while (!signal.aborted) {
      try {
        await http.call({
          ...{ method: 'PATCH', path: path`/api/v1/namespaces/${namespace}/pods/${pod}`, signal },
          contentType: 'application/merge-patch+json',
          body: { metadata: { labels: { [ACTIVE_LABEL]: `${active}` } } },
        });
        return;
      } catch (cause) {
        if (signal.aborted) return;
        onFailure(cause);
        await pause(TRY_AGAIN_MS, undefined, { signal }).catch(() => {});
      }
    }
  };
  return {
    set: (active) => {
      wanted?.abort();
      wanted = new AbortController();
      void write(active, wanted);
    },
    close: () => wanted?.abort(),
  };
}
