/**
 * Lists the workloads that policies can tell apart, with their ports. The list contains all known workloads, and a
 * placeholder for each kind of workload that a policy could select but that does not exist yet. A comparison therefore
 * covers all workloads, including future ones.
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

/**
 * Lists the workloads that policies can tell apart.
 * @param resources the resources of all states that are compared, because every state is evaluated for the same
 *   workloads
 */
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
  for (const template of podTemplates(all)) {
    const { namespace, labels, pod } = template;
    add(namespace, labels, `${nameOf(template)} in ${namespace}`, portNamesOf(pod));
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
  for (const policy of resources.filter(isPolicy)) {
    const selector = selectorOf(policy);
    const namespace = policy.metadata.namespace === rootNamespace ? '' : policy.metadata.namespace;
    if (!selector || selected(namespace, selector)) continue;
    const labels = Object.entries(selector).map(([name, value]) => `${name}=${value}`);
    add(namespace, selector, `pods with ${labels.join(', ')} in ${namespace || 'any namespace'}`);
  }
  add('', {}, 'any pod of another namespace');
  for (const namespace of namespacesIn(resources)) add(namespace, {}, `any other pod in ${namespace}`);
  return [...found.values()];
}

function nameOf({ object, labels, name }: ReturnType<typeof podTemplates>[number]): string {
  return object.kind === 'Pod' ? (labels.app ?? name) : name;
}

function namespacesIn(resources: readonly Resource[]): ReadonlySet<string> {
  const names = resources.map(({ kind, metadata }) => (kind === 'Namespace' ? metadata.name : metadata.namespace));
  return new Set(names.filter((name) => name !== ''));
}

type Policy = ResourceOf<'AuthorizationPolicy' | 'RequestAuthentication' | 'PeerAuthentication'>;

function isPolicy(resource: Resource): resource is Policy {
  return ['AuthorizationPolicy', 'RequestAuthentication', 'PeerAuthentication'].includes(resource.kind);
}
