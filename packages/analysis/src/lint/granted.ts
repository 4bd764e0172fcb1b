/**
 * Finds the Services that grants cover, as far as the manifests show which Services the access file selects.
 */

import { type Access, type GrantTarget, isSelection, selectedNamespaces } from '@meshpass/access/compile';
import { grantNamespace } from '@meshpass/identity';
import { fullHost, type MeshView, protocolOf, selects } from '@meshpass/istio';
import { distinct } from '@meshpass/istio/members';
import type { GrantReach } from '../routes/outside-grant.ts';

/** Returns the ports that each grant covers. The number of a named port is missing if its Service was not read. */
export function grantReaches(access: Access | undefined, mesh: MeshView): readonly GrantReach[] {
  return (access?.grants ?? []).map(({ name, place, to }) => {
    const ports = to.flatMap((target) => hostsOf(target, mesh).map((host) => portOf(target, host, mesh)));
    return {
      grant: name,
      namespace: grantNamespace(name),
      place,
      ports: distinct(ports, ({ host, port }) => `${host}:${port}`),
    };
  });
}

/** Returns the names of the grants that cover each host. */
export function grantsByHost(reaches: readonly GrantReach[]): ReadonlyMap<string, readonly string[]> {
  const granted = new Map<string, string[]>();
  for (const { grant, ports } of reaches) {
    for (const host of new Set(ports.map((port) => port.host)))
      granted.set(host, [...(granted.get(host) ?? []), grant]);
  }
  return granted;
}

function hostsOf(target: GrantTarget, mesh: MeshView): readonly string[] {
  const { host, service, namespace } = target;
  if (host !== undefined) return [host];
  const { rootNamespace, clusterDomain } = mesh.config;
  const named = !isSelection(target) && target.labels === undefined;
  if (named && service !== undefined && namespace !== undefined) return [fullHost(service, namespace, clusterDomain)];
  const services = mesh.all('Service').map(({ metadata }) => metadata);
  const names = new Set([
    ...mesh.all('Namespace').map(({ metadata }) => metadata.name),
    ...services.map((one) => one.namespace),
  ]);
  const selected = selectedNamespaces(target, {
    rootNamespace,
    gateway: { namespace: 'meshpass-system' },
    namespaces: [...names].map((name) => ({ name, labels: mesh.namespaceLabels(name) ?? {} })),
  });
  return services
    .filter((one) => selected.includes(one.namespace))
    .filter(({ name }) => service === undefined || name === service)
    .filter(({ labels }) => target.labels === undefined || selects(target.labels, labels ?? {}))
    .map((one) => fullHost(one.name, one.namespace, clusterDomain));
}

function portOf({ port: wanted }: GrantTarget, host: string, mesh: MeshView): GrantReach['ports'][number] {
  const ports = mesh.serviceAt(host)?.spec.ports ?? [];
  const declared = ports.find(({ port, name }) => (typeof wanted === 'number' ? port : name) === wanted);
  const isTcp = declared && protocolOf(declared.port, declared.appProtocol ?? declared.name ?? '') === 'tcp';
  return {
    host,
    port: typeof wanted === 'number' ? wanted : declared?.port,
    protocol: isTcp ? 'tcp' : 'http',
  };
}
