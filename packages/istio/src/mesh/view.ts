/** Indexed mesh model for analysis. */
import { memoize } from '@meshpass/identity/memory/memoize';
import type { Service } from '../object/kubernetes.ts';
import type { Labels } from '../object/object.ts';
import { indexObjects, type MeshObjects } from '../object/objects.ts';
import type { Resource } from '../object/resources.ts';
import { selectsSome } from '../object/selection.ts';
import { describeUnplaced } from '../object/unplaced.ts';
import { type DataPlane, resolveDataPlane } from './data-plane.ts';
import { fullHost } from './host.ts';
import { findMeshConfig, type MeshConfig } from './mesh-config.ts';
import { labelsSelectedBy, podTemplates } from './pod.ts';
import { type ProxyKind, proxyKinds } from './proxy.ts';
import { servicesSelecting } from './service-index.ts';
import { type PodWorkload, toWorkload, type Workload, withoutReplicas } from './workload.ts';

export interface MeshView extends MeshObjects {
  readonly resources: readonly Resource[];
  readonly config: MeshConfig;
  /** Every Pod that has not ended, and the template of every controller. */
  readonly pods: readonly PodWorkload[];
  readonly podsIn: (namespace: string) => readonly PodWorkload[];
  /** `pods` with replicas merged. */
  readonly workloads: readonly PodWorkload[];
  /** Pods that a Service selects; empty if the Service has no selector. */
  readonly podsBehind: (service: Service) => readonly PodWorkload[];
  /** Services that select a workload. */
  readonly servicesBefore: (workload: Pick<Workload, 'namespace' | 'labels'>) => readonly Service[];
  /** Finds a Service by its fully qualified host name, such as `orders.shop.svc.cluster.local`. */
  readonly serviceAt: (host: string) => Service | undefined;
  /** Returns the labels of a Namespace, or undefined if the Namespace was not read. */
  readonly namespaceLabels: (namespace: string) => Labels | undefined;
  /** Proxy kind of Pods with these labels. */
  readonly proxyKind: (labels: Labels) => ProxyKind;
  /** Warning about objects without a namespace; undefined if every object has one. */
  readonly unplaced: string | undefined;
  /** Reason why some policies may not have been read; every verdict is then unknown. */
  readonly unread: string | undefined;
  /** Data plane of each workload. */
  readonly dataPlane: () => DataPlane;
}

/**
 * Builds the model. Indexes are built on first use.
 * @param resources everything that was read; if objects conflict, the oldest one wins, as in istiod
 * @param config defaults to the ConfigMap `istio` among the resources, or else to Istio's own defaults
 * @param unread reason why some policies may not have been read
 * @example
 * ```ts
 * import { loadManifests, viewMesh } from '@meshpass/istio';
 * const orders = `{apiVersion: v1, kind: Service, metadata: {name: orders, namespace: shop},
 *   spec: {selector: {app: orders}, ports: [{port: 80, name: http, targetPort: web}]}}`;
 * const pod = `{apiVersion: v1, kind: Pod, metadata: {name: orders-1, namespace: shop, labels: {app: orders, pod-template-hash: 5f}},
 *   spec: {serviceAccountName: orders, containers: [{name: app, ports: [{name: web, containerPort: 8080}]}]}}`;
 * const { resources } = loadManifests(`${orders}\n---\n${pod}`, 'mesh.yaml');
 * const view = viewMesh(resources);
 * view.workloads.map(({ name, kind }) => [name, kind]); // => [['orders-1', 'sidecar']]
 * view.all('Service').length; // => 1
 * ```
 */
export function viewMesh(
  resources: readonly Resource[],
  config: MeshConfig = findMeshConfig(resources),
  unread?: string,
): MeshView {
  const objects = indexObjects(resources);
  const { all, within } = objects;
  const kinds = once(() => proxyKinds(all('Gateway')));
  const proxyKind = (labels: Labels): ProxyKind => kinds()(labels);
  const pods = once(() => podTemplates(all).map((one) => toWorkload(one, proxyKind)));
  const podsByNamespace = once(() => Map.groupBy(pods(), ({ namespace }) => namespace));
  const podsIn = (namespace: string) => podsByNamespace().get(namespace) ?? [];
  const workloads = once(() => withoutReplicas(pods(), labelsSelectedBy(resources)));
  const services = once(() => new Map(all('Service').map((one) => [hostOf(one, config), one])));
  const namespaces = once(
    () => new Map(all('Namespace').map(({ metadata }) => [metadata.name, metadata.labels ?? {}])),
  );
  const namespaceLabels = (namespace: string) => namespaces().get(namespace);
  const plane = once(() =>
    resolveDataPlane({ ...objects, pods: pods(), proxyKind, namespaceLabels }, config.rootNamespace, unread),
  );
  return {
    ...objects,
    resources,
    config,
    podsIn,
    proxyKind,
    unread,
    dataPlane: plane,
    get pods() {
      return pods();
    },
    get workloads() {
      return workloads();
    },
    get unplaced() {
      return describeUnplaced(resources);
    },
    podsBehind: memoize(({ metadata, spec }) =>
      podsIn(metadata.namespace).filter(({ labels }) => selectsSome(spec.selector, labels)),
    ),
    servicesBefore: ({ namespace, labels }) => servicesSelecting(within('Service', namespace), labels),
    serviceAt: (host) => services().get(host),
    namespaceLabels,
  };
}

function hostOf({ metadata }: Service, { clusterDomain }: MeshConfig): string {
  return fullHost(metadata.name, metadata.namespace, clusterDomain);
}

function once<T>(make: () => T): () => T {
  let made: { readonly value: T } | undefined;
  return () => {
    made ??= { value: make() };
    return made.value;
  };
}
