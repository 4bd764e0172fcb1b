/**
 * Label by which the Service selects the active broker's Pod. A standby's Pod is ready, so that updates and evictions
 * can proceed, but receives no requests.
 */
import { setTimeout as pause } from 'node:timers/promises';
import { type KubernetesHttp, path } from './http.ts';

export const ACTIVE_LABEL = 'meshpass.dev/active';

export interface ActiveLabelOptions {
  readonly http: KubernetesHttp;
  readonly namespace: string;
  /** This process's Pod. An admission policy prevents it from changing any other. */
  readonly pod: string;
  readonly onFailure: (cause: unknown) => void;
  /** Refresh interval, ms. */
  readonly intervalMs?: number;
}

export type ActiveLabel = ReturnType<typeof createActiveLabel>;

const TRY_AGAIN_MS = 1_000;
const INTERVAL_MS = 10_000;
const LEAVE_MS = 1_000;

/** Creates the label writer; it writes nothing yet. */
export function createActiveLabel(options: ActiveLabelOptions) {
  const { http, namespace, pod, onFailure, intervalMs = INTERVAL_MS } = options;
  let wanted: AbortController | undefined;
  let writing: Promise<void> | undefined;
  const write = async (
    active: boolean,
    { signal }: AbortController,
    before: Promise<void> | undefined,
    written = () => {},
  ) => {
    // Kubernetes may still process an aborted write, so the next one must not overtake it.
    await before;
    while (!signal.aborted) {
      let rest = intervalMs;
      try {
        await http.call({
          method: 'PATCH',
          path: path`/api/v1/namespaces/${namespace}/pods/${pod}`,
          contentType: 'application/merge-patch+json',
          body: { metadata: { labels: { [ACTIVE_LABEL]: `${active}` } } },
        });
        written();
      } catch (cause) {
        if (signal.aborted) return;
        onFailure(cause);
        rest = TRY_AGAIN_MS;
      }
      await pause(rest, undefined, { signal, ref: false }).catch(() => {});
    }
  };
  const set = (active: boolean, written?: () => void) => {
    wanted?.abort();
    wanted = new AbortController();
    writing = write(active, wanted, writing, written);
  };
  return {
    /** Writes the label and maintains it until a later call, because the Service has no endpoint without it. */
    set: (active: boolean) => set(active),
    /**
     * Gives up the active state. Resolves when that is written, or after a second, so that a shutdown is not delayed any
     * longer.
     */
    leave: async () => {
      const written = Promise.withResolvers<void>();
      set(false, written.resolve);
      await Promise.race([written.promise, pause(LEAVE_MS, undefined, { ref: false })]);
    },
    close: () => wanted?.abort(),
  };
}
