/**
 * Maintains a local copy of all objects of a kind. A watch lists the objects and then follows all changes after the
 * version of that list. It lists the objects again if the server no longer has that version (410), or whenever the
 * local copy may be out of date (Kubernetes API concepts, "Efficient detection of changes").
 */
import { type MeshpassError, toMeshpassError } from '@meshpass/identity';
import { pause } from '../../base/index.ts';
import { backoff } from '../backoff.ts';
import type { KubernetesHttp } from './http.ts';

/**
 * Options for watching all objects in a collection.
 * @typeParam O the type of the objects, as determined by the API server's schema
 */
export interface WatchOptions<O, T> {
  readonly http: KubernetesHttp;
  /** The path of the collection to watch. */
  readonly path: string;
  readonly fieldSelector?: string;
  /** Converts an object to the value that is kept for it. Return undefined to skip the object. */
  readonly keep: (object: O) => T | undefined;
  /** Called after every change to the kept values and after the first complete list. */
  readonly onChange: () => void;
  readonly onFault: (fault: MeshpassError) => void;
}

export type KubernetesWatch<T> = ReturnType<typeof watch<ApiObject, T>>;

const PAGE = 500;
/** How long the server keeps a watch open, in seconds. Resuming a watch costs nothing. */
const WATCH_SECONDS = 300;

/**
 * The minimum duration of a watch. If a server or a proxy ends it sooner, it is reopened as slowly as after a failure.
 */
const SHORT_WATCH_MS = 1_000;

interface ApiObject {
  readonly metadata: { readonly name: string; readonly namespace?: string; readonly resourceVersion: string };
}
interface ApiEvent<O> {
  readonly type: 'ADDED' | 'MODIFIED' | 'DELETED' | 'BOOKMARK' | 'ERROR';
  readonly object: ApiObject & O;
}

/** Starts watching a collection. The watch runs until it is closed. */
export function watch<O, T>(options: WatchOptions<O, T>) {
  const stop = new AbortController();
  const { fieldSelector } = options;
  const selector: Readonly<Record<string, string>> = fieldSelector === undefined ? {} : { fieldSelector };
  let kept: Map<string, T> | undefined;

  const list = async (): Promise<string> => {
    const found = new Map<string, T>();
    let version = '';
    let token = '';
    do {
      const query = { limit: String(PAGE), ...selector, ...(token && { continue: token }) };
      const { body } = await options.http.call({ method: 'GET', path: options.path, query, signal: stop.signal });
      const page = body as {
        metadata: { resourceVersion: string; continue?: string };
        items: readonly (ApiObject & O)[];
      };
      for (const object of page.items) {
        const value = options.keep(object);
        if (value !== undefined) found.set(keyOf(object), value);
      }
      version = page.metadata.resourceVersion;
      token = page.metadata.continue ?? '';
    } while (token);
    const changed = !kept || JSON.stringify([...kept]) !== JSON.stringify([...found]);
    kept = found;
    if (changed) options.onChange();
    return version;
  };

  /**
   * Follows all changes after the given version.
   * @returns the version to resume from, or undefined if the objects have to be listed again
   */
  const follow = async (from: string): Promise<string | undefined> => {
    let version: string | undefined = from;
    const query = {
      watch: '1',
      allowWatchBookmarks: 'true',
      resourceVersion: from,
      timeoutSeconds: String(WATCH_SECONDS),
      ...selector,
    };
    const call = { method: 'GET', path: options.path, query, signal: stop.signal } as const;
    await options.http.stream(call, (line) => {
      if (version === undefined) return;
      const event = JSON.parse(line) as ApiEvent<O>;
      if (event.type === 'ERROR') version = undefined;
      else version = event.object.metadata.resourceVersion;
      if (event.type === 'ERROR' || event.type === 'BOOKMARK') return;
      if (update(event)) options.onChange();
    });
    return version;
  };

  const update = ({ type, object }: ApiEvent<O>): boolean => {
    const key = keyOf(object);
    const before = kept!.get(key);
    const after = type === 'DELETED' ? undefined : options.keep(object);
    if (after === undefined) return kept!.delete(key);
    kept!.set(key, after);
    return JSON.stringify(before) !== JSON.stringify(after);
  };

  const run = async (): Promise<void> => {
    let version: string | undefined;
    let failures = 0;
    while (!stop.signal.aborted) {
      const began = performance.now();
      try {
        version ??= await list();
        version = await follow(version);
        if (performance.now() - began > SHORT_WATCH_MS) {
          failures = 0;
          continue;
        }
      } catch (thrown) {
        if (stop.signal.aborted) return;
        // The watch may have missed changes, and the next server may be a different one, so the objects have to be
        // listed again.
        version = undefined;
        options.onFault(toMeshpassError(thrown, 'kubernetes_unavailable', 'A cluster watch was interrupted.'));
      }
      await pause(backoff(failures++), stop.signal);
    }
  };
  void run();

  return {
    /**
     * Returns the last known values, even while the server is unavailable. Returns undefined until the first list is
     * complete.
     */
    all: (): readonly T[] | undefined => kept && [...kept.values()],
    close: () => stop.abort(),
  };
}

function keyOf({ metadata }: ApiObject): string {
  return `${metadata.namespace ?? ''}/${metadata.name}`;
}
