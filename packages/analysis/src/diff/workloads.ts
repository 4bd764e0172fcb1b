/**
 * The workloads that policies can tell apart, and their ports: those that are known, and one that stands for each kind that
 * a policy could select and nobody knows yet. So a comparison speaks of every workload, also of those to come.
 */

import {
  indexObjects,
  type Labels,
  labelsSelectedBy,
  lastingLabels,
  podTemplates,
  portNamesOf,
  proxyKinds,
  type Resource,
  type ResourceOf,
  selectorOf,
  selects,
  standInPorts,
  type Workload,
} from '@meshpass/istio';

export type Protocol = 'http' | 'tcp';

/** @param resources of all states that are compared: each state is asked about the same workloads */
export function workloadsOf(resources: readonly Resource[], rootNamespace: string): readonly Workload[] {
  const { all } = indexObjects(resources);
  const kindOf = proxyKinds(all('Gateway'));
  const chosen = labelsSelectedBy(resources);
  const found = new Map<string, Workload>();
  const labelsIn = new Map<string, Labels[]>();
  const add = (namespace: string, labels: Labels, name: string, portNames: Workload['portNames'] = new Map()): void => {
    const kept = lastingLabels(labels, chosen);
    const key = JSON.stringify([namespace, kept, [...portNames]]);
    if (found.has(key)) return;
    found.set(key, { namespace, labels: kept, name, kind: kindOf(kept), portNames });
    const inside = labelsIn.get(namespace);
    if (inside) inside.push(kept);
    else labelsIn.set(namespace, [kept]);
  };
  for (const { object, namespace, labels, name, pod } of podTemplates(all)) {
    const called = object.kind === 'Pod' ? (labels.app ?? name) : name;
    add(namespace, labels, `${called} in ${namespace}`, portNamesOf(pod));
  }
  const selected = (namespace: string, selector: Labels): boolean =>
    (namespace === '' ? [...labelsIn.values()].flat() : (labelsIn.get(namespace) ?? [])).some((labels) =>
      selects(selector, labels),
    );
  for (const { metadata, spec } of all('Service')) {
    const selector = spec.selector ?? {};
    if (Object.keys(selector).length > 0 && !selected(metadata.namespace, selector))
      add(metadata.namespace, selector, `${metadata.name} in ${metadata.namespace}`, standInPorts(spec));
  }
  const namespaces = new Set(['']);
  for (const { kind, metadata } of resources) {
    if (kind === 'Namespace') namespaces.add(metadata.name);
    else if (metadata.namespace !== '') namespaces.add(metadata.namespace);
  }
  const selectors = resources.flatMap((one) => {
    const selector = isPolicy(one) ? selectorOf(one) : undefined;
    return selector
      ? [{ namespace: one.metadata.namespace === rootNamespace ? '' : one.metadata.namespace, selector }]
      : [];
  });
  for (const { namespace, selector } of selectors) {
    if (selected(namespace, selector)) continue;
    const labels = Object.entries(selector).map(([name, value]) => `${name}=${value}`);
    add(namespace, selector, `pods with ${labels.join(', ')} in ${namespace || 'any namespace'}`);
  }
  for (const namespace of namespaces)
    add(namespace, {}, namespace === '' ? 'any pod of another namespace' : `any other pod in ${namespace}`);
  return [...found.values()];
}

type Policy = ResourceOf<'AuthorizationPolicy' | 'RequestAuthentication' | 'PeerAuthentication'>;

function isPolicy(resource: Resource): resource is Policy {
  return ['AuthorizationPolicy', 'RequestAuthentication', 'PeerAuthentication'].includes(resource.kind);
}
