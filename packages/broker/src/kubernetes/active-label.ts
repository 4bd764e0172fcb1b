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
  /** Between two writes of a label that stays, ms. */
  readonly intervalMs?: number;
}

export interface ActiveLabel {
  /** Writes it, and keeps it so until a later call replaces this one: whoever takes the label away takes every request away. */
  set(active: boolean): void;
  /** Says that this one is not active any more. Resolves when that is written, or after a second: whoever ends does not wait longer. */
  leave(): Promise<void>;
  close(): void;
}

const TRY_AGAIN_MS = 1_000;
const INTERVAL_MS = 10_000;
const LEAVE_MS = 1_000;

export function createActiveLabel(options: ActiveLabelOptions): ActiveLabel {
  const { http, namespace, pod, onFailure, intervalMs = INTERVAL_MS } = options;
  let wanted: AbortController | undefined;
  let writing: Promise<void> | undefined;
  const write = async (
    active: boolean,
    { signal }: AbortController,
    before: Promise<void> | undefined,
    written = () => {},
  ) => {
    // Kubernetes may still do what is given up: the later one must come later there, too.
    await before;
    while (!signal.aborted) {
      let rest = intervalMs;
      try {
        await http.call({
          ...{ method: 'PATCH', path: path`/api/v1/namespaces/${namespace}/pods/${pod}` },
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
    set: (active) => set(active),
    leave: async () => {
      const written = Promise.withResolvers<void>();
      set(false, written.resolve);
      await Promise.race([written.promise, pause(LEAVE_MS, undefined, { ref: false })]);
    },
    close: () => wanted?.abort(),
  };
}
