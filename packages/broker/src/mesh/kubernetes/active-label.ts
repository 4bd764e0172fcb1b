/**
 * Label that the Service uses to select the active broker's Pod. The Pod of a standby is ready, so that updates and
 * evictions can proceed, but it does not receive requests.
 */
import { setTimeout as pause } from 'node:timers/promises';
import { startReconciler } from '../reconciler.ts';
import { type KubernetesHttp, path } from './http.ts';

const ACTIVE_LABEL = 'meshpass.dev/active';

export interface ActiveLabelOptions {
  readonly http: KubernetesHttp;
  readonly namespace: string;
  /** Pod that this process runs in. An admission policy prevents the process from changing any other Pod. */
  readonly pod: string;
  readonly onFailure: (cause: unknown) => void;
  /** Refresh interval, ms. */
  readonly intervalMs?: number;
}

export type ActiveLabel = ReturnType<typeof createActiveLabel>;

const INTERVAL_MS = 10_000;
const LEAVE_MS = 1_000;

/** Creates the label writer, which does not write anything yet. */
export function createActiveLabel(options: ActiveLabelOptions) {
  const { http, namespace, pod, onFailure, intervalMs = INTERVAL_MS } = options;
  let wanted = false;
  let isLeaving = false;
  const removed = Promise.withResolvers<void>();
  const label = startReconciler<boolean>({
    apply: async (active) => {
      await http.call({
        method: 'PATCH',
        path: path`/api/v1/namespaces/${namespace}/pods/${pod}`,
        contentType: 'application/merge-patch+json',
        body: { metadata: { labels: { [ACTIVE_LABEL]: `${active}` } } },
      });
      return undefined;
    },
    onApplied: (active) => {
      if (!active && isLeaving) removed.resolve();
    },
    onFailed: (error, active) => {
      if (active === wanted) onFailure(error);
    },
    resync: intervalMs,
  });
  const set = (active: boolean) => {
    wanted = active;
    label.want(active);
  };
  return {
    /** Writes the label and maintains it until the next call. Without the label, the Service has no endpoint. */
    set,
    /**
     * Gives up the active state. Resolves once the label has been written, but after one second at the latest, so that
     * a shutdown is not delayed.
     */
    leave: async () => {
      isLeaving = true;
      set(false);
      await Promise.race([removed.promise, pause(LEAVE_MS, undefined, { ref: false })]);
    },
    close: label.close,
  };
}
