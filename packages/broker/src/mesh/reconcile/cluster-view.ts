/**
 * The watched cluster: Namespaces, Services, the Pods behind granted Services, ClusterRoles, foreign policies and the
 * mesh's roots.
 */

import { clusterRoleOf } from '@meshpass/access';
import type { MeshpassError } from '@meshpass/identity';
import { byName, type Mesh, meshServiceOf } from '@meshpass/istio';
import type { Log } from '../../base/index.ts';
import { splitRoots, watchRootsFile } from '../istiod/roots.ts';
import type { KubernetesHttp } from '../kubernetes/http.ts';
import { collectionPath } from '../kubernetes/resources.ts';
import { type KubernetesWatch, watch } from '../kubernetes/watch.ts';
import { type RunningPod, toNamespace, toPod, toPolicy, withWorkloads } from './mesh-objects.ts';

export interface ClusterViewOptions {
  readonly http: KubernetesHttp;
  /** Namespace of the ConfigMap with the mesh's roots. istiod writes one to every namespace. */
  readonly rootsNamespace: string;
  /** Path of an operator's file with the roots, instead of the ConfigMap. */
  readonly rootsFile?: string | undefined;
  readonly log: Log;
}

export type ClusterView = ReturnType<typeof viewCluster>;

const ROOTS = { configMap: 'istio-ca-root-cert', key: 'root-cert.pem' } as const;

/**
 * Starts the watches.
 * @throws MeshpassError `config_invalid` if the file with the roots is unusable
 */
export function viewCluster(options: ClusterViewOptions) {
  const { http, log } = options;
  const listeners = new Set<() => void>();
  const onChange = (): void => {
    for (const listener of listeners) listener();
  };
  const open = new Set<KubernetesWatch<unknown>>();
  const start = <T>(
    path: string,
    keep: (object: never) => T | undefined,
    fieldSelector?: string,
  ): KubernetesWatch<T> => {
    const onFault = ({ detail }: MeshpassError) =>
      log.warn({ watch: path, ...detail }, 'a cluster watch was interrupted; listing again');
    const watched = watch({ http, path, keep, onChange, onFault, ...(fieldSelector && { fieldSelector }) });
    open.add(watched);
    return watched;
  };

  // First, because an unusable file must leave no watch behind.
  const watchedRoots =
    options.rootsFile === undefined
      ? start(collectionPath('ConfigMap', options.rootsNamespace), toRoots, `metadata.name=${ROOTS.configMap}`)
      : watchRootsFile(options.rootsFile, log, onChange);
  open.add(watchedRoots);
  const services = start(collectionPath('Service'), meshServiceOf);
  const namespaces = start(collectionPath('Namespace'), toNamespace);
  // A role may later allow more than a grant may give; the grant then loses it.
  const clusterRoles = start(collectionPath('ClusterRole'), clusterRoleOf);
  const policies = start(collectionPath('AuthorizationPolicy'), toPolicy);
  for (const kind of ['RequestAuthentication', 'PeerAuthentication'])
    start(collectionPath(kind), ({ metadata: { generation = 0 } }: Versioned) => generation);
  const pods = new Map<string, KubernetesWatch<RunningPod>>();

  let lastKnown: readonly string[] = [];
  /**
   * Returns the roots, or the last known ones. Without roots, no certificate could be verified and all traffic would
   * stop. So nothing changes if the ConfigMap is empty or deleted (istiod recreates it), or the API server is
   * unavailable.
   */
  const roots = (): readonly string[] => {
    const found = watchedRoots.all()?.flat() ?? [];
    if (found.length > 0) lastKnown = found;
    return lastKnown;
  };

  const view = (
    running: readonly RunningPod[],
  ): Pick<Mesh, 'services' | 'namespaces' | 'foreignPolicies' | 'clusterRoles'> | undefined => {
    const found = services.all();
    const written = policies.all();
    const live = namespaces.all();
    const roles = clusterRoles.all();
    if (!found || !written || !live || !roles) return undefined;
    const names = new Set(live.map(({ name }) => name));
    return {
      // A namespace that is being deleted accepts no policies, so its Services no longer count.
      services: found
        .filter(({ namespace }) => names.has(namespace))
        .map((service) => withWorkloads(service, running))
        .sort(byName),
      namespaces: live.toSorted((a, b) => (a.name < b.name ? -1 : 1)),
      clusterRoles: roles.toSorted((a, b) => (a.name < b.name ? -1 : 1)),
      foreignPolicies: written.flatMap(({ policy }) => policy ?? []).sort(byName),
    };
  };

  return {
    /** PEM, one certificate per entry. */
    roots,
    /** Undefined until everything watched has been listed. */
    current: () => {
      const running = [...pods.values()].map((watched) => watched.all());
      return running.includes(undefined) ? undefined : view(running.flatMap((some) => some ?? []));
    },
    /** Same view without workloads, which are known only in followed namespaces. Determines which to follow. */
    outline: () => view([]),
    /** Our own policies with their generations, which reveal edits by others. */
    ours: (): readonly string[] =>
      (policies.all() ?? []).flatMap(({ name, generation }) => (name ? [`${name}@${generation}`] : [])).sort(),
    unready: (): readonly string[] => [
      ...(roots().length === 0 ? ['the mesh roots are not known yet'] : []),
      ...(view([]) ? [] : ['the cluster has not been listed yet']),
    ],
    /** Watches the Pods of exactly these namespaces. */
    follow: (namespaces: readonly string[]): void => {
      for (const [namespace, watched] of pods) {
        if (namespaces.includes(namespace)) continue;
        watched.close();
        open.delete(watched);
        pods.delete(namespace);
      }
      for (const namespace of namespaces) {
        if (!pods.has(namespace)) pods.set(namespace, start(collectionPath('Pod', namespace), toPod));
      }
    },
    onChange: (listener: () => void): (() => void) => {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    close: () => {
      for (const watched of open) watched.close();
      listeners.clear();
    },
  };
}

/** Object for which only changes matter. */
interface Versioned {
  readonly metadata: { readonly generation?: number };
}

function toRoots({ data }: { readonly data?: Readonly<Record<string, string>> }): readonly string[] | undefined {
  const text = data?.[ROOTS.key];
  return text === undefined ? undefined : splitRoots(text);
}
