/** An indexed model of a mesh for analysis. */
import { memoize } from '@meshpass/identity';
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
  /** All Pods that are still running, and the Pod templates of all controllers. */
  readonly pods: readonly PodWorkload[];
  readonly podsIn: (namespace: string) => readonly PodWorkload[];
  /** The workloads in `pods`, after merging replicas. */
  readonly workloads: readonly PodWorkload[];
  /** Returns the Pods that a Service selects. The list is empty if the Service has no selector. */
  readonly podsBehind: (service: Service) => readonly PodWorkload[];
  /** Returns the Services that select a workload. */
  readonly servicesBefore: (workload: Pick<Workload, 'namespace' | 'labels'>) => readonly Service[];
  /** Finds a Service by its full host name, such as `orders.shop.svc.cluster.local`. */
  readonly serviceAt: (host: string) => Service | undefined;
  /** Returns a Namespace's labels, or undefined if the Namespace was not read. */
  readonly namespaceLabels: (namespace: string) => Labels | undefined;
  /** Returns the kind of proxy that Pods with these labels run. */
  readonly proxyKind: (labels: Labels) => ProxyKind;
  /** A warning about objects without a namespace, or undefined if every object has one. */
  readonly unplaced: string | undefined;
  /** The reason why some policies may not have been read. If this is set, all verdicts are unknown. */
  readonly unread: string | undefined;
  /** Returns the data plane, which is determined for each workload. */
  readonly dataPlane: () => DataPlane;
}

/**
 * Builds the model of a mesh. Its indexes are created when they are first used.
 * @param resources all resources that were read. If they conflict, the oldest one wins, as in istiod
 * @param config the mesh configuration. Defaults to the one in the ConfigMap `istio`, or otherwise to Istio's defaults
 * @param unread the reason why some policies may not have been read
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
