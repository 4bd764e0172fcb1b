/** Workloads: what has a proxy and so is guarded, from Pods as they run or from what makes them. */
import type { Pod, PodController, PodSpec } from '../istio/kubernetes.ts';
import type { Resource } from '../istio/resources.ts';
import type { MeshView } from './mesh-view.ts';

export type ProxyKind = 'sidecar' | 'gateway' | 'waypoint';

export interface Workload {
  readonly namespace: string;
  /** Of the Pod, or of what makes it. */
  readonly name: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly serviceAccount: string;
  readonly kind: ProxyKind;
  /** Container ports by name. */
  readonly portNames: ReadonlyMap<string, number>;
  readonly source: Resource;
}

/** Labels that differ between Pods of one template. */
const PER_POD = [
  'pod-template-hash',
  'controller-revision-hash',
  'statefulset.kubernetes.io/pod-name',
  'apps.kubernetes.io/pod-index',
  'controller-uid',
  'batch.kubernetes.io/controller-uid',
  'batch.kubernetes.io/job-name',
  'job-name',
];

/** Workloads among the objects; a Pod and what made it are one. */
export function findWorkloads(view: Pick<MeshView, 'all'>): readonly Workload[] {
  const gateways = view.all('Gateway').flatMap(({ spec }) => (spec.selector ? [spec.selector] : []));
  const kindOf = (labels: Workload['labels']): ProxyKind => {
    if (labels['gateway.istio.io/managed'] === 'istio.io-mesh-controller') return 'waypoint';
    if (labels['gateway.networking.k8s.io/gateway-name'] !== undefined) return 'gateway';
    return gateways.some((selector) => Object.keys(selector).length > 0 && selects(selector, labels))
      ? 'gateway'
      : 'sidecar';
  };
  const found = new Map<string, Workload>();
  const add = (source: Resource, labels: Workload['labels'] = {}, spec: PodSpec = {}): void => {
    const { namespace, name } = source.metadata;
    const serviceAccount = spec.serviceAccountName || spec.serviceAccount || 'default';
    const lasting = Object.entries(labels)
      .filter(([label]) => !PER_POD.includes(label))
      .sort(([a], [b]) => (a < b ? -1 : 1));
    const key = JSON.stringify([namespace, serviceAccount, lasting]);
    if (found.has(key)) return;
    const ports = (spec.containers ?? []).flatMap(({ ports: some }) => some ?? []);
    const portNames = new Map(
      ports.flatMap(({ name: port, containerPort }) =>
        port !== undefined && containerPort !== undefined ? [[port, containerPort]] : [],
      ),
    );
    found.set(key, { namespace, name, labels, serviceAccount, kind: kindOf(labels), portNames, source });
  };
  const controllers = ['Deployment', 'StatefulSet', 'DaemonSet', 'ReplicaSet', 'Job'] as const;
  for (const kind of controllers) {
    for (const one of view.all(kind) as readonly PodController[])
      add(one, one.spec.template?.metadata?.labels, one.spec.template?.spec);
  }
  for (const pod of view.all('Pod') as readonly Pod[]) add(pod, pod.metadata.labels, pod.spec);
  return [...found.values()];
}

/** Whether every label of the selector is there; an empty selector selects everything. */
export function selects(
  selector: Readonly<Record<string, string>> | undefined,
  labels: Readonly<Record<string, string>>,
): boolean {
  return Object.entries(selector ?? {}).every(
    ([label, value]) => Object.hasOwn(labels, label) && labels[label] === value,
  );
}
