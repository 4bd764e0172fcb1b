import { fullHost, type MeshView, serviceName } from '@meshpass/istio';
import { text } from '@meshpass/istio/members';
import { exposuresOfEnvoyFilters } from './entries/envoy-filters.ts';
import { exposuresOfRoutes } from './entries/gateway-routes.ts';
import { exposuresOfIngresses } from './entries/ingresses.ts';
import { exposuresOfPods } from './entries/pods.ts';
import { exposuresOfServices } from './entries/services.ts';
import { exposuresOfVirtualServices } from './entries/virtual-services.ts';
import type { Exposure } from './exposure.ts';

/**
 * Lists every way into the cluster: routes of VirtualServices, of the Gateway API and of Ingresses, published ports of
 * Services and Pods, and what EnvoyFilters and Sidecars add.
 */
export function exposuresOf(mesh: MeshView): readonly Exposure[] {
  return [
    ...exposuresOfVirtualServices(mesh),
    ...exposuresOfRoutes(mesh),
    ...exposuresOfIngresses(mesh),
    ...exposuresOfServices(mesh),
    ...exposuresOfPods(mesh),
    ...exposuresOfEnvoyFilters(mesh),
  ].map((one) => withoutAlias(mesh, one));
}

/** Resolves a Service of type ExternalName that is an alias of another Service. */
function withoutAlias(mesh: MeshView, exposure: Exposure): Exposure {
  const { spec, metadata } = exposure.service ?? {};
  const alias = spec?.type === 'ExternalName' ? text(spec.externalName) : undefined;
  if (alias === undefined) return exposure;
  const { clusterDomain } = mesh.config;
  const host = fullHost(alias, metadata!.namespace, clusterDomain);
  if (!serviceName(host, clusterDomain)) return exposure;
  return { ...exposure, destination: { ...exposure.destination, host }, service: mesh.serviceAt(host) };
}
