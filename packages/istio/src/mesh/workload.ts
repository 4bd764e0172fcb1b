/** Workloads as calls meet them: what has a proxy and so is guarded. */

import type { MeshObjects } from '../object/objects.ts';
import type { Resource } from '../object/resources.ts';
import { lastingLabels, podTemplates, portNamesOf } from './pod.ts';
import { type MeshProxy, proxyKinds } from './proxy.ts';
import type { Serving } from './workload-ports.ts';

export interface Workload extends MeshProxy, Serving {
  /** Of the Pod, or of what makes it. */
  readonly name: string;
  readonly serviceAccount: string;
  readonly source: Resource;
}

/**
 * Workloads among the objects; a Pod and what made it are one.
 * @param selected labels by which something selects: Pods that differ in one of them are not one workload
 */
export function findWorkloads(objects: MeshObjects, selected: ReadonlySet<string>): readonly Workload[] {
  const kindOf = proxyKinds(objects.all('Gateway'));
  const found = new Map<string, Workload>();
  for (const { object, namespace, name, labels, serviceAccount, pod } of podTemplates(objects.all)) {
    const key = JSON.stringify([namespace, serviceAccount, lastingLabels(labels, selected)]);
    if (found.has(key)) continue;
    const kind = kindOf(labels);
    found.set(key, { namespace, name, labels, serviceAccount, kind, portNames: portNamesOf(pod), source: object });
  }
  return [...found.values()];
}
