/**
 * Maintains the label that the Service uses to select the active broker's Pod. The Pod of a standby is also ready, so
 * that updates and evictions can proceed, but it does not receive any requests.
 */
import { setTimeout as pause } from 'node:timers/promises';
import { startReconciler } from '../reconciler.ts';
import { type KubernetesHttp, path } from './http.ts';

const ACTIVE_LABEL = 'meshpass.dev/active';

export interface ActiveLabelOptions {
  readonly http: KubernetesHttp;
  readonly namespace: string;
  /** The Pod that this process runs in. An admission policy prevents the process from changing any other Pod. */
  readonly pod: string;
  readonly onFailure: (cause: unknown) => void;
  /** How often the label is written again, in milliseconds. */
  readonly intervalMs?: number;
}

const INTERVAL_MS = 10_000;
const LEAVE_MS = 1_000;

/** Creates the writer for the label. It does not write anything until `set` is called. */
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
    /**
     * Writes the label and keeps it in place until the next call. Without this label on any Pod, the Service has no
     * endpoints.
     */
    set,
    /**
     * Marks this broker as no longer active. Resolves once the label has been written, but after one second at the
     * latest so that a shutdown is not delayed.
     */
    leave: async () => {
      isLeaving = true;
      set(false);
      await Promise.race([removed.promise, pause(LEAVE_MS, undefined, { ref: false })]);
    },
    close: label.close,
  };
}
