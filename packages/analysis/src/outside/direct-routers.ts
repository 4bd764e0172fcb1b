/**
 * Creates the routers for ports that are published without a gateway, and for ports that EnvoyFilters and Sidecars add.
 */
import type { MeshView } from '@meshpass/istio';
import { ALWAYS, all, any, opaque } from '../diff/formula/condition.ts';
import { listEnvoyFilterExposures } from '../exposure/entries/envoy-filters.ts';
import { listPodExposures } from '../exposure/entries/pods.ts';
import { listServiceExposures } from '../exposure/entries/services.ts';
import type { EntryPoint, Exposure } from '../exposure/exposure.ts';
import { type Listener, matchCondition } from '../routes/match-condition.ts';
import { NO_REWRITE } from '../routes/rewrite.ts';
import type { Router, Target } from './router.ts';
import { targetsAt } from './target.ts';

/** Lists the routers for ports that are published without a gateway. Each of them has a single destination. */
export function directRouters(mesh: MeshView): readonly Router[] {
  const exposures = [...listServiceExposures(mesh), ...listPodExposures(mesh), ...listEnvoyFilterExposures(mesh)];
  return [
    ...exposures.flatMap((one) => routersOf(one, one.protocol, (entry) => targetsAt(mesh, one, entry))),
    // Neither mesh proxies nor policies restrict UDP.
    ...listServiceExposures(mesh, 'UDP').flatMap((one) =>
      routersOf(one, 'udp', () => [
        { destination: one.destination, condition: ALWAYS, path: one.path, rewrite: NO_REWRITE },
      ]),
    ),
  ];
}

function routersOf(
  { entries, matches, on, path, root, hosts }: Exposure,
  protocol: Listener['protocol'],
  targetsOf: (entry: EntryPoint) => readonly Target[],
): readonly Router[] {
  return entries.flatMap((entry) => {
    const ports = entry.ports.length > 0 ? entry.ports : [{ number: undefined }];
    return ports.map(({ number }): Router => {
      const listener: Listener = { protocol, port: number };
      const condition = all([
        matches.length > 0 ? any(matches.map((match) => matchCondition(match, listener))) : ALWAYS,
        entry.kind === 'EnvoyFilter' ? opaque(`EnvoyFilter ${entry.name} changes routes`) : ALWAYS,
      ]);
      const step = { on, path, condition, targets: targetsOf(entry) };
      return { listener, entry, virtualHosts: hosts.map((host) => ({ host, on: root, steps: [step] })) };
    });
  });
}
