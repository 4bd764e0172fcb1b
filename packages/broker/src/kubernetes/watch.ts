/**
 * Keeps a local copy of all objects of one kind: list, then watch from there, relist when the server has forgotten
 * (410) or nothing can be told for certain (Kubernetes API concepts, "Efficient detection of changes").
 */
import type { MeshpassError } from '@meshpass/identity';
import { toMeshpassError } from '@meshpass/identity';
import { pause } from '../clock/timers.ts';
import type { KubernetesHttp } from './http.ts';

export interface WatchOptions<T> {
  readonly http: KubernetesHttp;
  /** Path of the collection. */
  readonly path: string;
  readonly fieldSelector?: string;
  /** From the API object to what is kept; undefined leaves it out. */
  readonly keep: (object: unknown) => T | undefined;
  /** After every change of what is kept, also the first complete one. */
  readonly onChange: () => void;
  readonly onFault: (fault: MeshpassError) => void;
  /** 0 to 1. */
  readonly random: () => number;
}

export interface Watched<T> {
  /** Undefined until the first list is complete; afterwards the last known state, also while the server is away. */
  readonly all: () => readonly T[] | undefined;
  /** Whether the server is being heard now. */
  readonly fresh: () => boolean;
  readonly close: () => void;
}

const PAGE = 500;
const FIRST_PAUSE_MS = 200;
const LONGEST_PAUSE_MS = 10_000;
/** The server ends a watch after this long; resuming costs nothing. */
const WATCH_SECONDS = 300;

/** A server or proxy that ends watches sooner than this is not asked again at once. */
const SHORT_WATCH_MS = 1_000;

interface ApiObject {
  readonly metadata: { readonly name: string; readonly namespace?: string; readonly resourceVersion: string };
}
interface ApiEvent {
  readonly type: 'ADDED' | 'MODIFIED' | 'DELETED' | 'BOOKMARK' | 'ERROR';
  readonly object: ApiObject & { readonly code?: number; readonly message?: string };
}

export function watch<T>(options: WatchOptions<T>): Watched<T> {
  const stop = new AbortController();
  let kept: Map<string, T> | undefined;
  let fresh = false;

  const list = async (): Promise<string> => {
    const found = new Map<string, T>();
    let version = '';
    let token = '';
    do {
      const query = { limit: String(PAGE), ...select(options), ...(token && { continue: token }) };
      const { body } = await options.http.call({ method: 'GET', path: options.path, query, signal: stop.signal });
      const page = body as { metadata: { resourceVersion: string; continue?: string }; items: readonly ApiObject[] };
      for (const object of page.items) {
        const value = options.keep(object);
        if (value !== undefined) found.set(keyOf(object), value);
      }
      version = page.metadata.resourceVersion;
      token = page.metadata.continue ?? '';
    } while (token);
    const changed = !kept || JSON.stringify([...kept]) !== JSON.stringify([...found]);
    kept = found;
    fresh = true;
    if (changed) options.onChange();
    return version;
  };

  /** @returns the version to resume from, or undefined where only a new list helps */
  const follow = async (from: string): Promise<string | undefined> => {
    let version: string | undefined = from;
    const query = {
      ...{ watch: '1', allowWatchBookmarks: 'true', resourceVersion: from, timeoutSeconds: String(WATCH_SECONDS) },
      ...select(options),
    };
    const call = { method: 'GET', path: options.path, query, signal: stop.signal } as const;
    await options.http.stream(call, (line) => {
      if (version === undefined) return;
      const event = JSON.parse(line) as ApiEvent;
      if (event.type === 'ERROR') version = undefined;
      else version = event.object.metadata.resourceVersion;
      if (event.type === 'ERROR' || event.type === 'BOOKMARK') return;
      if (update(event)) options.onChange();
    });
    return version;
  };

  const update = ({ type, object }: ApiEvent): boolean => {
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
        fresh = true;
        version = await follow(version);
        if (performance.now() - began > SHORT_WATCH_MS) failures = 0;
        else await pause(SHORT_WATCH_MS * options.random(), stop.signal);
      } catch (thrown) {
        if (stop.signal.aborted) return;
        // What was missed meanwhile is unknown to us, and the server may be another one: list again.
        version = undefined;
        fresh = false;
        options.onFault(toMeshpassError(thrown, 'kubernetes_unavailable', 'A watch of the cluster was interrupted.'));
        const longest = Math.min(LONGEST_PAUSE_MS, FIRST_PAUSE_MS * 2 ** failures++);
        await pause(longest * (0.5 + options.random() / 2), stop.signal);
      }
    }
  };
  void run();

  return {
    all: () => kept && [...kept.values()],
    fresh: () => fresh,
    close: () => stop.abort(),
  };
}

function keyOf({ metadata }: ApiObject): string {
  return `${metadata.namespace ?? ''}/${metadata.name}`;
}

function select(options: { readonly fieldSelector?: string }): { fieldSelector?: string } {
  return options.fieldSelector === undefined ? {} : { fieldSelector: options.fieldSelector };
}
