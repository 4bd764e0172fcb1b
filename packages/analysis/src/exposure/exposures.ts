import type { MeshView } from '@meshpass/istio';
import { resolveDestination } from './destination.ts';
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
  ].flatMap((one) => resolveDestination(mesh, one));
}
