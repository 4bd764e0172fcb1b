/**
 * Watches everything in the cluster that policies depend on: Namespaces, Services, the Pods behind granted Services,
 * ClusterRoles, policies that Meshpass does not own, and the mesh roots.
 */

import { clusterRoleOf, isOurs } from '@meshpass/access';
import type { MeshpassError } from '@meshpass/identity';
import {
  byName,
  distinctWorkloads,
  foreignPolicyOf,
  hasEnded,
  type Mesh,
  type MeshService,
  meshServiceOf,
  type ResourceOf,
  serviceAccountOf,
} from '@meshpass/istio';
import type { Log } from '../../base/index.ts';
import { splitRoots, watchRootsFile } from '../istiod/roots.ts';
import type { KubernetesHttp } from '../kubernetes/http.ts';
import { collectionPath } from '../kubernetes/resources.ts';
import { type KubernetesWatch, watch } from '../kubernetes/watch.ts';

export interface ClusterViewOptions {
  readonly http: KubernetesHttp;
  /** The namespace of the ConfigMap that contains the mesh roots. istiod writes this ConfigMap to every namespace. */
  readonly rootsNamespace: string;
  /** The path to a file with the mesh roots. If set, it is used instead of the ConfigMap. */
  readonly rootsFile?: string | undefined;
  readonly log: Log;
}

export type ClusterView = ReturnType<typeof viewCluster>;

const ROOTS = { configMap: 'istio-ca-root-cert', key: 'root-cert.pem' } as const;

/**
 * Starts watching the cluster.
 * @throws MeshpassError `config_invalid` if the roots file cannot be used
 */
export function viewCluster(options: ClusterViewOptions) {
  const { http, log } = options;
  const listeners = new Set<() => void>();
  const onChange = (): void => {
    for (const listener of listeners) listener();
  };
  const open = new Set<KubernetesWatch<unknown>>();
  const start = <O, T>(
    path: string,
    keep: (object: O) => T | undefined,
    fieldSelector?: string,
  ): KubernetesWatch<T> => {
    const onFault = ({ detail }: MeshpassError) =>
      log.warn({ watch: path, ...detail }, 'a cluster watch was interrupted; listing again');
    const watched = watch({ http, path, keep, onChange, onFault, ...(fieldSelector && { fieldSelector }) });
    open.add(watched);
    return watched;
  };

  // Start with the roots. If their file is unusable, this throws an error before any other watch has been started.
  const watchedRoots =
    options.rootsFile === undefined
      ? start(collectionPath('ConfigMap', options.rootsNamespace), toRoots, `metadata.name=${ROOTS.configMap}`)
      : watchRootsFile(options.rootsFile, log, onChange);
  open.add(watchedRoots);
  const services = start(collectionPath('Service'), meshServiceOf);
  const namespaces = start(collectionPath('Namespace'), toNamespace);
  // A role may be changed so that it allows more than a grant may provide. The grant then loses the role.
  const clusterRoles = start(collectionPath('ClusterRole'), clusterRoleOf);
  const policies = start(collectionPath('AuthorizationPolicy'), toPolicy);
  for (const kind of ['RequestAuthentication', 'PeerAuthentication'])
    start(collectionPath(kind), ({ metadata: { generation = 0 } }: Versioned) => generation);
  const pods = new Map<string, KubernetesWatch<RunningPod>>();

  let lastKnown: readonly string[] = [];
  /**
   * Returns the current roots, or the last known ones. Without roots, certificates could not be verified, and all
   * traffic would stop. The last known roots therefore stay in use if the ConfigMap is empty or was deleted (istiod
   * recreates it), or if the API server is unavailable.
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
      // A namespace that is being deleted does not accept policies, so its Services are left out.
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
    /** Returns the mesh roots in PEM format, with one certificate per entry. */
    roots,
    /** Returns the current state of the cluster, or undefined until all watched objects have been listed. */
    current: () => {
      const running = [...pods.values()].map((watched) => watched.all());
      return running.includes(undefined) ? undefined : view(running.flatMap((some) => some ?? []));
    },
    /**
     * Returns the state of the cluster without any workloads. Workloads are only known in the namespaces that were
     * passed to `follow`, and this state determines which namespaces those are.
     */
    outline: () => view([]),
    /**
     * Returns the policies that the broker manages together with their generations, which reveal whether someone else
     * has edited them.
     */
    ours: (): readonly string[] =>
      (policies.all() ?? []).flatMap(({ name, generation }) => (name ? [`${name}@${generation}`] : [])).sort(),
    unready: (): readonly string[] => [
      ...(roots().length === 0 ? ['the mesh roots are not known yet'] : []),
      ...(view([]) ? [] : ['the cluster has not been listed yet']),
    ],
    /** Watches the Pods in exactly these namespaces, and stops watching Pods in any others. */
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

/** An object that is only watched for changes, so nothing but its generation is kept. */
interface Versioned {
  readonly metadata: { readonly generation?: number };
}

function toRoots({ data }: { readonly data?: Readonly<Record<string, string>> }): readonly string[] | undefined {
  const text = data?.[ROOTS.key];
  return text === undefined ? undefined : splitRoots(text);
}

// Objects from the API server are reduced to the fields that policies depend on.

/** Converts a namespace, or returns undefined if it is being deleted and therefore does not accept new objects. */
function toNamespace({
  metadata: { name, labels = {}, deletionTimestamp },
}: {
  readonly metadata: ResourceOf<'Namespace'>['metadata'] & { readonly deletionTimestamp?: string };
}) {
  return deletionTimestamp === undefined ? { name, labels } : undefined;
}

/** Converts a Pod, or returns undefined if it is no longer running. */
export function toPod({ metadata, spec = {}, status }: Pick<ResourceOf<'Pod'>, 'metadata' | 'spec' | 'status'>) {
  if (hasEnded(status?.phase)) return undefined;
  return { namespace: metadata.namespace, labels: metadata.labels ?? {}, serviceAccount: serviceAccountOf(spec) };
}

type RunningPod = NonNullable<ReturnType<typeof toPod>>;

/** Returns a copy of a Service with the distinct workloads that it selects. */
export function withWorkloads(service: Omit<MeshService, 'workloads'>, pods: readonly RunningPod[]): MeshService {
  const inside = pods.filter(({ namespace }) => namespace === service.namespace);
  return { ...service, workloads: distinctWorkloads(service.selector, inside) };
}

/**
 * Reads a policy together with its generation, which reveals whether it was edited. After an edit, the broker writes
 * its own policies again and checks all others again. A policy that the broker does not own is undefined if no sidecar
 * enforces it.
 */
export function toPolicy(
  object: Parameters<typeof foreignPolicyOf>[0] & { readonly metadata: { readonly generation?: number } },
) {
  const { name, generation } = object.metadata;
  return isOurs(object) ? { name, generation } : { policy: foreignPolicyOf(object), generation };
}
