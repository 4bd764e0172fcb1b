/**
 * Creates the routers for ports that are published without a gateway, and for ports that EnvoyFilters and Sidecars add.
 */
import { fullHost, type MeshView, type Service } from '@meshpass/istio';
import { items } from '@meshpass/istio/members';
import { ALWAYS, all, any } from '../diff/formula/condition.ts';
import { listEnvoyFilterExposures } from '../exposure/entries/envoy-filters.ts';
import { isGatewayService } from '../exposure/entries/gateway-service.ts';
import { listPodExposures } from '../exposure/entries/pods.ts';
import { entryPointOf, findPublication, listServiceExposures } from '../exposure/entries/services.ts';
import { type Listener, matchCondition, opaque } from '../routes/match-condition.ts';
import { NO_REWRITE } from '../routes/rewrite.ts';
import type { Router } from './router.ts';
import { targetsAt } from './target.ts';

/** Lists the routers for ports that are published without a gateway. Each of them has a single destination. */
export function directRouters(mesh: MeshView): readonly Router[] {
  return [...connectionRouters(mesh), ...mesh.all('Service').flatMap((service) => datagramRouters(mesh, service))];
}

/** Lists the routers for UDP ports, which neither mesh proxies nor policies restrict. */
function datagramRouters(mesh: MeshView, service: Service): readonly Router[] {
  const published = findPublication(service);
  if (!published || isGatewayService(mesh, service)) return [];
  const { name, namespace } = service.metadata;
  const ports = items(service.spec.ports).filter(({ protocol }) => protocol === 'UDP');
  return ports.map((port): Router => {
    const destination = {
      host: fullHost(name, namespace, mesh.config.clusterDomain),
      subset: undefined,
      port: port.port,
    };
    const target = { destination, condition: ALWAYS, path: published.path, rewrite: NO_REWRITE };
    const step = { on: service, path: published.path, condition: ALWAYS, targets: [target] };
    const entry = entryPointOf(service, published.kind, port);
    const virtualHosts = [{ host: '*', on: service, steps: [step] }];
    return { listener: { protocol: 'udp', port: entry.ports[0]?.number }, entry, virtualHosts };
  });
}

function connectionRouters(mesh: MeshView): readonly Router[] {
  const exposures = [...listServiceExposures(mesh), ...listPodExposures(mesh), ...listEnvoyFilterExposures(mesh)];
  return exposures.flatMap((exposure) =>
    exposure.entries.flatMap((entry) => {
      const ports = entry.ports.length > 0 ? entry.ports : [{ number: undefined, protocol: undefined }];
      return ports.map(({ number }): Router => {
        const listener: Listener = { protocol: exposure.protocol, port: number };
        const matches = any(exposure.matches.map((match) => matchCondition(match, listener)));
        const condition = all([
          exposure.matches.length > 0 ? matches : ALWAYS,
          entry.kind === 'EnvoyFilter' ? opaque(`EnvoyFilter ${entry.name} changes routes`) : ALWAYS,
        ]);
        const { on, path, root, hosts } = exposure;
        const step = { on, path, condition, targets: targetsAt(mesh, exposure, entry) };
        return { listener, entry, virtualHosts: hosts.map((host) => ({ host, on: root, steps: [step] })) };
      });
    }),
  );
}
