/** Resolves destinations that refer to other hosts: ExternalName Services, and hosts defined by a ServiceEntry. */

import { coversHost, fullHost, type MeshView, serviceName } from '@meshpass/istio';
import { items, text, texts } from '@meshpass/istio/members';
import type { Exposure } from './exposure.ts';
import { countReaders, restrictEntryPoint } from './gateway-pods.ts';

/**
 * Replaces an alias with the Service that it refers to, and adds the ServiceEntry for a host outside the cluster. Entry
 * points to which the ServiceEntry is not exported are left out, because they do not know the host.
 */
export function resolveDestination(mesh: MeshView, exposure: Exposure): readonly Exposure[] {
  const { service, destination } = exposure;
  if (service) return [withAlias(mesh, exposure, service.metadata.namespace, aliasIn(service.spec))];
  if (exposure.pod || serviceName(destination.host, mesh.config.clusterDomain)) return [exposure];
  const defining = mesh
    .all('ServiceEntry')
    .filter(({ spec }) => texts(spec.hosts).some((host) => coversHost(host, destination.host)));
  if (defining.length === 0) return [exposure];
  const entries = exposure.entries.flatMap((entry) => restrictEntryPoint(mesh, entry, defining) ?? []);
  const external = defining.find((one) => entries.some((entry) => countReaders(mesh, entry, one) !== 'none'));
  if (!external) return [];
  const addresses = new Set(items(external.spec.endpoints).map(({ address }) => text(address)));
  const known = { ...exposure, entries, external };
  const { namespace } = external.metadata;
  const reached = [...addresses].map((one) => withAlias(mesh, known, namespace, one));
  // If an address does not belong to a Service in the cluster, the destination remains the host itself.
  const targets = new Map(reached.map((one) => [one.destination.host, one]));
  return targets.size === 0 ? [known] : [...targets.values()];
}

function aliasIn({ type, externalName }: { readonly type?: string; readonly externalName?: string }) {
  return type === 'ExternalName' ? text(externalName) : undefined;
}

/** Follows aliases from one Service to the next, because an alias may refer to another alias. */
function withAlias(mesh: MeshView, exposure: Exposure, namespace: string, alias: string | undefined): Exposure {
  const { clusterDomain } = mesh.config;
  let found: (Pick<Exposure, 'service'> & { readonly host: string }) | undefined;
  const visited = new Set<string>();
  for (let next = alias, place = namespace; next !== undefined; ) {
    const host = fullHost(next.toLowerCase().replace(/\.$/, ''), place, clusterDomain);
    if (!serviceName(host, clusterDomain) || visited.has(host)) break;
    visited.add(host);
    const service = mesh.serviceAt(host);
    found = { host, service };
    place = service?.metadata.namespace ?? place;
    next = service && aliasIn(service.spec);
  }
  if (!found) return exposure;
  return { ...exposure, destination: { ...exposure.destination, host: found.host }, service: found.service };
}
