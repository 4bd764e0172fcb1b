/** Workloads: what has a proxy and so is guarded, from Pods as they run or from what makes them. */

import type { PodController, PodSpec } from '../object/kubernetes.ts';
import { items, labels as labelsOf, text } from '../object/members.ts';
import type { Labels, Path } from '../object/object.ts';
import type { Resource, ResourceKind, ResourceOf } from '../object/resources.ts';
import { selects } from '../object/selection.ts';
import { isTcp } from './port-protocol.ts';

/** What decides whether a Pod has a sidecar, and what that sidecar sees. */
export interface PodFacts {
  readonly namespace: string;
  readonly labels: Labels;
  readonly annotations: Labels;
  readonly pod: PodSpec;
  /** The API server has this Pod, so whatever was injected is in it. False for templates and for Pods in files. */
  readonly running: boolean;
}

/** A Pod, or the template of a controller that creates Pods. */
export interface PodTemplateOf extends PodFacts {
  readonly object: ResourceOf<'Pod'> | PodController;
  /** Name of the object. */
  readonly name: string;
  readonly serviceAccount: string;
  /** Paths within the object of the Pod's metadata and of its spec. */
  readonly metadataPath: Path;
  readonly podPath: Path;
}

export const CONTROLLERS = ['Deployment', 'StatefulSet', 'DaemonSet', 'ReplicaSet', 'Job'] as const;

/**
 * Every template and every Pod that has not ended: Succeeded and Failed ones serve nobody (pilot/pkg/serviceregistry/kube/controller/pod.go).
 * @param of objects of a kind
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
  const made = CONTROLLERS.flatMap((kind) =>
    (of(kind) as readonly PodController[]).map((object) => {
      const { metadata, spec } = object.spec?.template ?? {};
      return template(object, metadata, spec, ['spec', 'template', 'metadata'], ['spec', 'template', 'spec']);
    }),
  );
  const running = of('Pod').filter(({ status }) => !hasEnded(status?.phase));
  return [...made, ...running.map((pod) => template(pod, pod.metadata, pod.spec, ['metadata'], ['spec']))];
}

/**
 * Whether a Pod serves nobody any more.
 * @param phase of its status
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
 * The ServiceAccount of a Pod; Kubernetes' admission fills in `default`.
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
 * The port of a Pod that a Service's port leads to; undefined where the Pod names none so.
 * Source: `FindPort` in pilot/pkg/serviceregistry/kube/controller/util.go.
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
  // Manifests may have anything there.
  return typeof target === 'number' ? target : undefined;
}

/**
 * Container ports by name, the first of a name.
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
 * A Pod that only its Service is known of: its ports have the numbers of the Service's.
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

/** Labels that differ between Pods of one template. */
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
 * Labels by which Pods of one template cannot be told apart; but those by which something selects can be.
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
 * The workloads behind a selector, each once: replicas are one. Sorted, so that the same Pods give the same list.
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
  if (Object.keys(selector).length === 0) return [];
  const found = new Map<string, Pick<PodTemplateOf, 'labels' | 'serviceAccount'>>();
  for (const { labels, serviceAccount } of pods) {
    if (!selects(selector, labels)) continue;
    const kept = lastingLabels(labels, new Set(Object.keys(selector)));
    found.set(JSON.stringify([serviceAccount, Object.entries(kept)]), { labels: kept, serviceAccount });
  }
  return [...found].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, workload]) => workload);
}

/**
 * Names of labels by which policies, Services, Gateways and Sidecars select.
 * @example
 * ```ts
 * import { labelsSelectedBy, loadManifests } from '@meshpass/istio';
 * const service = '{apiVersion: v1, kind: Service, metadata: {name: one, namespace: shop}, spec: {selector: {job-name: one}}}';
 * [...labelsSelectedBy(loadManifests(service, 'service.yaml').resources)]; // => ['job-name']
 * ```
 */
export function labelsSelectedBy(resources: Iterable<Resource>): ReadonlySet<string> {
  const names = new Set<string>();
  for (const { kind, ...resource } of resources) {
    const spec = ('spec' in resource ? (resource.spec ?? {}) : {}) as {
      readonly selector?: Labels | { readonly matchLabels?: Labels };
      readonly workloadSelector?: { readonly labels?: Labels };
    };
    const selector =
      kind === 'Service' || kind === 'Gateway'
        ? (spec.selector as Labels | undefined)
        : kind === 'Sidecar'
          ? spec.workloadSelector?.labels
          : (spec.selector as { readonly matchLabels?: Labels } | undefined)?.matchLabels;
    for (const name of Object.keys(selector ?? {})) if (PER_POD.includes(name)) names.add(name);
  }
  return names;
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
    ...{ object, metadataPath, podPath, pod, namespace: object.metadata.namespace, name: object.metadata.name },
    running: object.kind === 'Pod' && object.metadata.uid !== undefined,
    labels: labelsOf(metadata?.labels),
    annotations: labelsOf(metadata?.annotations),
    serviceAccount: serviceAccountOf(pod),
  };
}
