/** Pods and Pod templates. The workloads behind proxies are derived from these. */

import type { PodController, PodSpec } from '../object/kubernetes.ts';
import { compare, distinct, items, labels as labelsOf, text } from '../object/members.ts';
import type { Labels, Path } from '../object/object.ts';
import type { Resource, ResourceKind, ResourceOf } from '../object/resources.ts';
import { podSelector, selectsSome } from '../object/selection.ts';
import { isTcp } from './port-protocol.ts';

/** The fields that determine whether a Pod has a sidecar and which traffic that sidecar captures. */
export interface PodFacts {
  readonly namespace: string;
  readonly labels: Labels;
  readonly annotations: Labels;
  readonly pod: PodSpec;
  /**
   * Whether this is a Pod that the API server returned, including everything that was injected into it. False for
   * templates and for Pods that were read from files.
   */
  readonly running: boolean;
}

/**
 * Returns `PodFacts` for a Pod that was not read, when only its labels are known.
 * @example
 * ```ts
 * import { anyPod } from '@meshpass/istio';
 * anyPod('shop').labels; // => {}
 * ```
 */
export function anyPod(namespace: string, labels: Labels = {}): PodFacts {
  return { namespace, labels, annotations: {}, pod: {}, running: false };
}

/** A Pod, or the template of a controller that creates Pods. */
export interface PodTemplateOf extends PodFacts {
  readonly object: ResourceOf<'Pod'> | PodController;
  /** The name of the Pod or of the controller. */
  readonly name: string;
  readonly serviceAccount: string;
  /** The paths of the Pod's metadata and spec within the object. */
  readonly metadataPath: Path;
  readonly podPath: Path;
}

const CONTROLLER_KINDS = ['Deployment', 'StatefulSet', 'DaemonSet', 'ReplicaSet', 'Job'] as const;

/**
 * Lists all templates and all Pods that have not ended. Succeeded and Failed Pods do not serve traffic
 * (pilot/pkg/serviceregistry/kube/controller/pod.go).
 * @param of returns the objects of a given kind
 * @example
 * ```ts
 * import { indexObjects, loadManifests, podTemplates } from '@meshpass/istio';
 * const pod = `{apiVersion: v1, kind: Pod, metadata: {name: orders-1, namespace: shop, labels: {app: orders, pod-template-hash: 5f}},
 *   spec: {serviceAccountName: orders, containers: [{name: app, ports: [{name: web, containerPort: 8080}]}]}}`;
 * const { resources } = loadManifests(`${pod}`, 'mesh.yaml');
 * podTemplates(indexObjects(resources).all).map(({ name, serviceAccount }) => [name, serviceAccount]); // => [['orders-1', 'orders']]
 * ```
 */
export function podTemplates(
  of: <Kind extends ResourceKind>(kind: Kind) => readonly ResourceOf<Kind>[],
): readonly PodTemplateOf[] {
  const made = CONTROLLER_KINDS.flatMap((kind) =>
    (of(kind) as readonly PodController[]).map((object) => {
      const { metadata, spec } = object.spec?.template ?? {};
      return template(object, metadata, spec, ['spec', 'template', 'metadata'], ['spec', 'template', 'spec']);
    }),
  );
  const running = of('Pod').filter(({ status }) => !hasEnded(status?.phase));
  return [...made, ...running.map((pod) => template(pod, pod.metadata, pod.spec, ['metadata'], ['spec']))];
}

/**
 * Whether a Pod has ended and therefore no longer serves traffic.
 * @param phase the phase in the status of the Pod
 * @example
 * ```ts
 * import { hasEnded } from '@meshpass/istio';
 * hasEnded('Succeeded'); // => true
 * hasEnded('Running'); // => false
 * ```
 */
export function hasEnded(phase: string | undefined): boolean {
  return phase === 'Succeeded' || phase === 'Failed';
}

/**
 * Returns the ServiceAccount of a Pod. If the Pod does not name one, it is `default`, as in Kubernetes' admission
 * controller.
 * @example
 * ```ts
 * import { serviceAccountOf } from '@meshpass/istio';
 * serviceAccountOf({ serviceAccountName: 'orders' }); // => 'orders'
 * serviceAccountOf({}); // => 'default'
 * ```
 */
export function serviceAccountOf(spec: PodSpec): string {
  return text(spec.serviceAccountName) || text(spec.serviceAccount) || 'default';
}

/**
 * Resolves the Pod port that a Service port forwards to. Returns undefined if the Pod does not have a port with that
 * name. Source: `FindPort` in pilot/pkg/serviceregistry/kube/controller/util.go.
 * @example
 * ```ts
 * import { targetPortOf } from '@meshpass/istio';
 * const names = new Map([['web', 8080]]);
 * targetPortOf(names, { port: 80, targetPort: 'web' }); // => 8080
 * targetPortOf(names, { port: 80 }); // => 80
 * ```
 */
export function targetPortOf(
  names: ReadonlyMap<string, number>,
  { port, targetPort }: { readonly port: number; readonly targetPort?: number | string },
): number | undefined {
  const target = typeof targetPort === 'string' ? names.get(targetPort) : targetPort || port;
  // Manifests are not validated, so this value can be of any type.
  return typeof target === 'number' ? target : undefined;
}

/**
 * Maps the names of container ports to their numbers. If more than one port has the same name, the first one wins.
 * @example
 * ```ts
 * import { portNamesOf } from '@meshpass/istio';
 * const spec = { containers: [{ name: 'app', ports: [{ name: 'web', containerPort: 8080 }] }] };
 * portNamesOf(spec).get('web'); // => 8080
 * ```
 */
export function portNamesOf({ containers }: PodSpec): ReadonlyMap<string, number> {
  const names = new Map<string, number>();
  for (const container of items(containers)) {
    for (const port of items(container.ports)) {
      const { name, containerPort } = port;
      if (typeof name !== 'string' || typeof containerPort !== 'number' || !isTcp(port)) continue;
      if (!names.has(name)) names.set(name, containerPort);
    }
  }
  return names;
}

/**
 * Maps port names to numbers for a Service without any known Pods. Each name maps to the number of the Service port
 * itself.
 * @example
 * ```ts
 * import { standInPorts } from '@meshpass/istio';
 * standInPorts({ ports: [{ port: 80, targetPort: 'web' }] }).get('web'); // => 80
 * ```
 */
export function standInPorts({ ports = [] }: ResourceOf<'Service'>['spec']): ReadonlyMap<string, number> {
  return new Map(
    ports.flatMap(({ port, targetPort }) => (typeof targetPort === 'string' ? [[targetPort, port] as const] : [])),
  );
}

/** Labels that differ between Pods created from the same template. */
const PER_POD: readonly string[] = [
  'pod-template-hash',
  'controller-revision-hash',
  'statefulset.kubernetes.io/pod-name',
  'apps.kubernetes.io/pod-index',
  'controller-uid',
  'batch.kubernetes.io/controller-uid',
  'batch.kubernetes.io/job-name',
  'job-name',
];

/**
 * Removes labels that differ between Pods created from the same template. Labels that are used by a selector are kept.
 * @example
 * ```ts
 * import { lastingLabels } from '@meshpass/istio';
 * lastingLabels({ app: 'orders', 'pod-template-hash': '5f' }); // => { app: 'orders' }
 * ```
 */
export function lastingLabels(labels: Labels, selected: ReadonlySet<string> = new Set()): Labels {
  return Object.fromEntries(
    Object.entries(labels)
      .filter(([label]) => !PER_POD.includes(label) || selected.has(label))
      .sort(([a], [b]) => (a < b ? -1 : 1)),
  );
}

/**
 * Lists the workloads that match a selector, after merging replicas. The list is sorted, so the same Pods always
 * produce the same list.
 * @example
 * ```ts
 * import { distinctWorkloads } from '@meshpass/istio';
 * const replica = { labels: { app: 'orders', 'pod-template-hash': '5f' }, serviceAccount: 'orders' };
 * distinctWorkloads({ app: 'orders' }, [replica, replica]); // => [{ labels: { app: 'orders' }, serviceAccount: 'orders' }]
 * ```
 */
export function distinctWorkloads(
  selector: Labels,
  pods: readonly Pick<PodTemplateOf, 'labels' | 'serviceAccount'>[],
): readonly Pick<PodTemplateOf, 'labels' | 'serviceAccount'>[] {
  const selected = new Set(Object.keys(selector));
  const workloads = pods
    .filter(({ labels }) => selectsSome(selector, labels))
    .map(({ labels, serviceAccount }) => ({ labels: lastingLabels(labels, selected), serviceAccount }));
  const keyOf = ({ labels, serviceAccount }: (typeof workloads)[number]) =>
    JSON.stringify([serviceAccount, Object.entries(labels)]);
  return distinct(workloads, keyOf).sort((a, b) => compare(keyOf(a), keyOf(b)));
}

/**
 * Lists the labels that differ between Pods created from the same template, but that policies, Services, Gateways,
 * Sidecars or other objects use in selectors.
 * @example
 * ```ts
 * import { labelsSelectedBy, loadManifests } from '@meshpass/istio';
 * const service = '{apiVersion: v1, kind: Service, metadata: {name: one, namespace: shop}, spec: {selector: {job-name: one}}}';
 * [...labelsSelectedBy(loadManifests(service, 'service.yaml').resources)]; // => ['job-name']
 * ```
 */
export function labelsSelectedBy(resources: Iterable<Resource>): ReadonlySet<string> {
  const names = [...resources].flatMap((resource) => Object.keys(podSelector(resource) ?? {}));
  return new Set(names.filter((name) => PER_POD.includes(name)));
}

function template(
  object: PodTemplateOf['object'],
  metadata: { readonly labels?: Labels; readonly annotations?: Labels } | undefined,
  spec: PodSpec | undefined,
  metadataPath: Path,
  podPath: Path,
): PodTemplateOf {
  const pod = typeof spec === 'object' && spec !== null ? spec : {};
  return {
    object,
    metadataPath,
    podPath,
    pod,
    namespace: object.metadata.namespace,
    name: object.metadata.name,
    running: object.kind === 'Pod' && object.metadata.uid !== undefined,
    labels: labelsOf(metadata?.labels),
    annotations: labelsOf(metadata?.annotations),
    serviceAccount: serviceAccountOf(pod),
  };
}
