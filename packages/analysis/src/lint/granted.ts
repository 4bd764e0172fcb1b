/**
 * Finds the hosts of the Services that grants cover, as far as the manifests show which Services the access file
 * selects.
 */

import { type Access, type GrantTarget, isSelection, selectedNamespaces } from '@meshpass/access/compile';
import { fullHost, type MeshView, type Namespace, selects } from '@meshpass/istio';

export type GrantedHosts = ReadonlyMap<
  string,
  { readonly grants: readonly string[]; readonly ports: ReadonlySet<number> }
>;

/** Returns the hosts that grants cover, along with the grants and their ports. */
export function grantedHosts(access: Access | undefined, mesh: MeshView): GrantedHosts {
  const granted = new Map<string, { grants: string[]; ports: Set<number> }>();
  const reached = (access?.grants ?? []).flatMap(({ name, to }) =>
    to.flatMap((target) => hostsOf(target, mesh).map((host) => ({ name, target, host }))),
  );
  for (const { name, target, host } of reached) {
    const known = granted.get(host) ?? { grants: [], ports: new Set<number>() };
    if (!known.grants.includes(name)) known.grants.push(name);
    const port = typeof target.port === 'number' ? target.port : portNamed(target.port, host, mesh);
    if (port !== undefined) known.ports.add(port);
    granted.set(host, known);
  }
  return granted;
}

function hostsOf(target: GrantTarget, mesh: MeshView): readonly string[] {
  const { host, service, namespace } = target;
  if (host !== undefined) return [host];
  const named = !isSelection(target) && target.labels === undefined;
  if (named && service !== undefined && namespace !== undefined) {
    return [fullHost(service, namespace, mesh.config.clusterDomain)];
  }
  const services = mesh.all('Service');
  const names = new Set([...mesh.all('Namespace').map(nameOf), ...services.map(({ metadata }) => metadata.namespace)]);
  const { rootNamespace, clusterDomain } = mesh.config;
  const selected = selectedNamespaces(target, {
    rootNamespace,
    gateway: { namespace: 'meshpass-system' },
    namespaces: [...names].map((name) => ({ name, labels: mesh.namespaceLabels(name) ?? {} })),
  });
  return services
    .filter(({ metadata }) => selected.includes(metadata.namespace))
    .filter(({ metadata }) => service === undefined || metadata.name === service)
    .filter(({ metadata }) => target.labels === undefined || selects(target.labels, metadata.labels ?? {}))
    .map(({ metadata }) => fullHost(metadata.name, metadata.namespace, clusterDomain));
}

function portNamed(wanted: string, host: string, mesh: MeshView): number | undefined {
  return mesh.serviceAt(host)?.spec.ports?.find(({ name }) => name === wanted)?.port;
}

function nameOf({ metadata }: Namespace): string {
  return metadata.name;
}
