/** Routers of published ports, without a gateway, and of what EnvoyFilters and Sidecars add. */
import type { MeshView } from '@meshpass/istio';
import { ALWAYS, all, any } from '../diff/formula/condition.ts';
import { exposuresOfEnvoyFilters } from '../exposure/entries/envoy-filters.ts';
import { exposuresOfPods } from '../exposure/entries/pods.ts';
import { exposuresOfServices } from '../exposure/entries/services.ts';
import { anonymousCalls } from './anonymous.ts';
import { type Listener, matchCondition, opaque } from './match-condition.ts';
import type { Router } from './router.ts';

/** Lists the routers of ports that are published without a gateway, each with one destination. */
export function directRouters(mesh: MeshView): readonly Router[] {
  const exposures = [...exposuresOfServices(mesh), ...exposuresOfPods(mesh), ...exposuresOfEnvoyFilters(mesh)];
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
        const target = {
          destination: exposure.destination,
          condition: anonymousCalls(mesh, { exposure, entry, changed: new Set() }),
          path: exposure.destinationPath,
        };
        const step = { on: exposure.on, path: exposure.path, condition, targets: [target] };
        return {
          listener,
          entry,
          virtualHosts: exposure.hosts.map((host) => ({ host, on: exposure.root, steps: [step] })),
        };
      });
    }),
  );
}
