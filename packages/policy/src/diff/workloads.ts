/**
 * The workloads that policies can tell apart, and their ports: those that are known, and one that stands for each kind that
 * a policy could select and nobody knows yet. So a comparison speaks of every workload, also of those to come.
 */

import type { ServicePort } from '../istio/kubernetes.ts';
import { protocolOf } from '../istio/port-protocol.ts';
import type { Resource, ResourceOf } from '../istio/resources.ts';

type Labels = Readonly<Record<string, string>>;

export interface Workload {
  /** Empty: a namespace that nothing is known of. */
  readonly namespace: string;
  readonly labels: Labels;
  /** For people: `orders in shop`. */
  readonly name: string;
  readonly ports: readonly WorkloadPort[];
}

export interface WorkloadPort {
  /** On the pod. */
  readonly port: number;
  readonly protocols: readonly Protocol[];
  /** Services that lead here, `orders.shop:8080`. */
  readonly services: readonly string[];
}

export type Protocol = 'http' | 'tcp';

/** @param resources of all states that are compared: each state is asked about the same workloads */
export function workloadsOf(resources: readonly Resource[], rootNamespace: string): readonly Workload[] {
  const services = ofKind(resources, 'Service');
  const servicesIn = Map.groupBy(services, ({ metadata }) => metadata.namespace);
  const found = new Map<string, Omit<Workload, 'ports'>>();
  const labelsIn = new Map<string, Labels[]>();
  const add = (namespace: string, labels: Labels, name: string): void => {
    const { 'pod-template-hash': _, ...kept } = labels;
    const key = `${namespace} ${JSON.stringify(Object.entries(kept).sort())}`;
    if (found.has(key)) return;
    found.set(key, { namespace, labels: kept, name });
    const inside = labelsIn.get(namespace);
    if (inside) inside.push(kept);
    else labelsIn.set(namespace, [kept]);
  };
  for (const { namespace, labels, name } of podsOf(resources)) add(namespace, labels, `${name} in ${namespace}`);
  const selected = (namespace: string, selector: Labels): boolean =>
    (namespace === '' ? [...labelsIn.values()].flat() : (labelsIn.get(namespace) ?? [])).some((labels) =>
      selects(selector, labels),
    );
  for (const { metadata, spec } of services) {
    const selector = spec.selector ?? {};
    if (Object.keys(selector).length > 0 && !selected(metadata.namespace, selector))
      add(metadata.namespace, selector, `${metadata.name} in ${metadata.namespace}`);
  }
  const namespaces = new Set(['']);
  for (const { kind, metadata } of resources) {
    if (kind === 'Namespace') namespaces.add(metadata.name);
    else if (metadata.namespace !== '') namespaces.add(metadata.namespace);
  }
  const selectors = resources.flatMap((one) => {
    const selector = selectorOf(one);
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
  return [...found.values()].map((one) => ({ ...one, ports: portsOf(one, servicesIn.get(one.namespace) ?? []) }));
}

/** Whether labels are selected; by an empty selector all are. */
export function selects(selector: Labels, labels: Labels): boolean {
  return Object.entries(selector).every(([name, value]) => labels[name] === value);
}

export function ofKind<Kind extends Resource['kind']>(resources: readonly Resource[], kind: Kind): ResourceOf<Kind>[] {
  return resources.filter((one): one is ResourceOf<Kind> => one.kind === kind);
}

/** The labels by which a policy selects; undefined for one that means a whole namespace. */
export function selectorOf(resource: Resource): Labels | undefined {
  switch (resource.kind) {
    case 'AuthorizationPolicy':
    case 'RequestAuthentication':
    case 'PeerAuthentication': {
      const labels = resource.spec.selector?.matchLabels;
      return labels && Object.keys(labels).length > 0 ? labels : undefined;
    }
    default:
      return undefined;
  }
}

function podsOf(resources: readonly Resource[]): { namespace: string; labels: Labels; name: string }[] {
  return resources.flatMap((one) => {
    const { namespace, name } = one.metadata;
    switch (one.kind) {
      case 'Pod':
        return [{ namespace, name: one.metadata.labels?.app ?? name, labels: one.metadata.labels ?? {} }];
      case 'Deployment':
      case 'StatefulSet':
      case 'DaemonSet':
      case 'ReplicaSet':
      case 'Job':
        return [{ namespace, name, labels: one.spec.template?.metadata?.labels ?? {} }];
      default:
        return [];
    }
  });
}

function portsOf(
  workload: Omit<Workload, 'ports'>,
  services: readonly ResourceOf<'Service'>[],
): readonly WorkloadPort[] {
  const byPort = new Map<number, { protocols: Set<Protocol>; services: Set<string> }>();
  for (const { metadata, spec } of services) {
    const selector = spec.selector ?? {};
    if (Object.keys(selector).length === 0 || !selects(selector, workload.labels)) continue;
    for (const port of spec.ports ?? []) {
      if ((port.protocol ?? 'TCP') !== 'TCP') continue;
      const number = targetOf(port);
      const entry = byPort.get(number) ?? { protocols: new Set(), services: new Set() };
      for (const protocol of protocolsOf(port)) entry.protocols.add(protocol);
      entry.services.add(`${metadata.name}.${metadata.namespace}:${port.port}`);
      byPort.set(number, entry);
    }
  }
  return [...byPort]
    .sort(([a], [b]) => a - b)
    .map(([port, { protocols, services: names }]) => ({
      port,
      protocols: [...protocols].sort(),
      services: [...names].sort(),
    }));
}

/** A port by name is looked up in each pod; its number here is that of the Service. */
function targetOf({ port, targetPort }: ServicePort): number {
  return typeof targetPort === 'number' ? targetPort : port;
}

/** On a port that declares nothing, the client's first bytes choose. */
function protocolsOf({ port, appProtocol, name }: ServicePort): readonly Protocol[] {
  const declared = protocolOf(port, appProtocol ?? name ?? '');
  if (declared === 'undeclared') return ['http', 'tcp'];
  return [declared === 'tcp' ? 'tcp' : 'http'];
}
