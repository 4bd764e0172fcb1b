/** Pods, as they run or as controllers would make them: what policies select and Services send to. */
import type { PodController, PodSpec } from '../istio/kubernetes.ts';
import type { KubeObject, Path } from '../istio/object.ts';
import type { ResourceKind, ResourceOf } from '../istio/resources.ts';
import { items, labels, record } from './read.ts';

export interface Workload {
  readonly object: KubeObject;
  readonly name: string;
  readonly namespace: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly annotations: Readonly<Record<string, string>>;
  readonly serviceAccount: string;
  readonly pod: PodSpec;
  /** Where in the object the Pod's metadata stands. */
  readonly metadataPath: Path;
  readonly podPath: Path;
}

const CONTROLLERS = ['Deployment', 'StatefulSet', 'DaemonSet', 'ReplicaSet', 'Job'] as const;

export function listWorkloads(
  of: <Kind extends ResourceKind>(kind: Kind) => readonly ResourceOf<Kind>[],
): readonly Workload[] {
  const made = CONTROLLERS.flatMap((kind) =>
    (of(kind as ResourceKind) as unknown as readonly PodController[]).map((object): Workload => {
      const template = record(record(object.spec).template) as { readonly metadata?: unknown; readonly spec?: PodSpec };
      return workload(
        object,
        record(template.metadata),
        template.spec,
        ['spec', 'template', 'metadata'],
        ['spec', 'template', 'spec'],
      );
    }),
  );
  return [...made, ...of('Pod').map((pod) => workload(pod, record(pod.metadata), pod.spec, ['metadata'], ['spec']))];
}

/** Port numbers that containers declare, and the port that a Service's targetPort means. */
export function targetPortOf(workload: Workload, targetPort: number | string): number | undefined {
  if (typeof targetPort === 'number') return targetPort;
  for (const container of items(workload.pod.containers)) {
    for (const port of items(container.ports)) {
      if (port.name === targetPort && typeof port.containerPort === 'number') return port.containerPort;
    }
  }
  return undefined;
}

export function groupByNamespace<T>(
  all: readonly T[],
  namespaceOf: (one: T) => string,
): ReadonlyMap<string, readonly T[]> {
  const groups = new Map<string, T[]>();
  for (const one of all) {
    const namespace = namespaceOf(one);
    const group = groups.get(namespace);
    if (group) group.push(one);
    else groups.set(namespace, [one]);
  }
  return groups;
}

function workload(
  object: KubeObject,
  metadata: Readonly<Record<string, unknown>>,
  spec: PodSpec | undefined,
  metadataPath: Path,
  podPath: Path,
): Workload {
  const pod = record(spec) as PodSpec;
  const account = pod.serviceAccountName ?? pod.serviceAccount;
  return {
    ...{ object, metadataPath, podPath, pod },
    name: object.metadata.name,
    namespace: object.metadata.namespace,
    labels: labels(metadata.labels),
    annotations: labels(metadata.annotations),
    serviceAccount: typeof account === 'string' && account !== '' ? account : 'default',
  };
}
