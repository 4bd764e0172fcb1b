/** What is watched of the cluster, put together: Namespaces, Services, the Pods behind granted ones, ClusterRoles, policies of others, the roots. */

import { byName, type Mesh } from '@meshpass/istio';
import { z } from 'zod';
import { type RootsFile, splitRoots } from '../istiod/roots.ts';
import type { KubernetesHttp } from '../kubernetes/http.ts';
import { collectionPath } from '../kubernetes/resources.ts';
import { type Watched, watch } from '../kubernetes/watch.ts';
import type { Log } from '../telemetry/log.ts';
import {
  type RunningPod,
  toClusterRole,
  toGeneration,
  toNamespace,
  toPod,
  toPolicy,
  toService,
  withWorkloads,
} from './mesh-objects.ts';

export interface ClusterViewOptions {
  readonly http: KubernetesHttp;
  /** Where the ConfigMap with the mesh's roots is; istiod puts one into every namespace. */
  readonly rootsNamespace: string;
  /** Roots of a file of the operator's, instead of the ConfigMap. */
  readonly rootsFile?: RootsFile;
  readonly log: Log;
  /** 0 to 1. */
  readonly random: () => number;
}

type WatchedMesh = Pick<Mesh, 'services' | 'namespaces' | 'foreignPolicies' | 'clusterRoles'>;

export interface ClusterView {
  /** Undefined until everything that is watched has been listed. */
  readonly current: () => WatchedMesh | undefined;
  /** The same without the workloads, which are known only where they are followed: to find out what to follow. */
  readonly outline: () => WatchedMesh | undefined;
  /** Our own policies as they stand: changes when somebody changes one. */
  readonly ours: () => readonly string[];
  /** PEM, one certificate each. */
  readonly roots: () => readonly string[];
  readonly unready: () => readonly string[];
  /** Namespaces whose Pods matter from now on. */
  follow(namespaces: readonly string[]): void;
  readonly onChange: (listener: () => void) => () => void;
  close(): void;
}

const ROOTS = { configMap: 'istio-ca-root-cert', key: 'root-cert.pem' } as const;
const ConfigMap = z.object({ data: z.record(z.string(), z.string()).optional() });

export function viewCluster(options: ClusterViewOptions): ClusterView {
  const { http, log, random } = options;
  const listeners = new Set<() => void>();
  const onChange = (): void => {
    for (const listener of listeners) listener();
  };
  const start = <T>(path: string, keep: (object: unknown) => T | undefined, fieldSelector?: string): Watched<T> =>
    watch({
      ...{ http, path, keep, onChange, random },
      ...(fieldSelector && { fieldSelector }),
      onFault: (fault) =>
        log.warn({ watch: path, ...fault.detail }, 'a watch of the cluster was interrupted; listing again'),
    });

  const services = start(collectionPath('Service'), toService);
  const namespaces = start(collectionPath('Namespace'), toNamespace);
  // A role may later gain what no grant allows; it is then taken back.
  const clusterRoles = start(collectionPath('ClusterRole'), toClusterRole);
  const policies = start(collectionPath('AuthorizationPolicy'), toPolicy);
  const authentications = ['RequestAuthentication', 'PeerAuthentication'].map((kind) =>
    start(collectionPath(kind), toGeneration),
  );
  const { rootsFile } = options;
  const unfollow = rootsFile?.onChange(onChange);
  const configMap = rootsFile
    ? undefined
    : start(collectionPath('ConfigMap', options.rootsNamespace), toRoots, `metadata.name=${ROOTS.configMap}`);
  const pods = new Map<string, Watched<RunningPod>>();

  let lastKnown: readonly string[] = [];
  /**
   * Without roots nobody could be verified, and everybody would be cut off: a ConfigMap that is deleted (istiod makes it
   * anew) or empty, and an API server that is away, leave what was last known.
   */
  const roots = (): readonly string[] => {
    const found = rootsFile?.roots() ?? configMap?.all()?.flat() ?? [];
    if (found.length > 0) lastKnown = found;
    return lastKnown;
  };

  const view = (running: readonly RunningPod[]) => {
    const found = services.all();
    const written = policies.all();
    const live = namespaces.all();
    const roles = clusterRoles.all();
    if (!found || !written || !live || !roles) return undefined;
    const names = new Set(live.map(({ name }) => name));
    return {
      // What ends with its namespace is gone: policies can no longer be written there.
      services: found
        .filter(({ namespace }) => names.has(namespace))
        .map((service) => withWorkloads(service, running))
        .sort(byName),
      namespaces: live.toSorted((a, b) => (a.name < b.name ? -1 : 1)),
      clusterRoles: roles.toSorted((a, b) => (a.name < b.name ? -1 : 1)),
      foreignPolicies: written.flatMap((one) => (one.ours || !one.policy ? [] : [one.policy])).sort(byName),
    };
  };

  return {
    roots,
    current: () => {
      const running = [...pods.values()].map((watched) => watched.all());
      return running.includes(undefined) ? undefined : view(running.flatMap((some) => some ?? []));
    },
    outline: () => view([]),
    ours: () => (policies.all() ?? []).flatMap((one) => (one.ours ? [`${one.name}@${one.generation}`] : [])).sort(),
    unready: () => [
      ...(roots().length === 0 ? ['the roots of the mesh are not known yet'] : []),
      ...(services.all() && policies.all() && namespaces.all() && clusterRoles.all()
        ? []
        : ['the cluster has not been listed yet']),
    ],
    follow: (namespaces) => {
      for (const [namespace, watched] of pods) {
        if (namespaces.includes(namespace)) continue;
        watched.close();
        pods.delete(namespace);
      }
      for (const namespace of namespaces) {
        if (!pods.has(namespace)) pods.set(namespace, start(collectionPath('Pod', namespace), toPod));
      }
    },
    onChange: (listener) => {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    close: () => {
      unfollow?.();
      for (const watched of [
        services,
        namespaces,
        policies,
        clusterRoles,
        ...authentications,
        ...(configMap ? [configMap] : []),
        ...pods.values(),
      ])
        watched.close();
      listeners.clear();
    },
  };
}

function toRoots(object: unknown): readonly string[] | undefined {
  const text = ConfigMap.parse(object).data?.[ROOTS.key];
  return text === undefined ? undefined : splitRoots(text);
}
