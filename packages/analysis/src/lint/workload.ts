/** Pods, as they run or as controllers would make them: what policies select and Services send to. */
import { type PodTemplateOf, portNamesOf } from '@meshpass/istio';

export type Workload = PodTemplateOf;

/** The port that a Service's targetPort means. */
export function targetPortOf({ pod }: Workload, targetPort: number | string): number | undefined {
  return typeof targetPort === 'number' ? targetPort : portNamesOf(pod).get(targetPort);
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
