/** Modes of mutual TLS that istiod leaves out on their way to a ztunnel (see `ztunnelPeerModes`). */
import {
  type Labels,
  type MeshView,
  type PeerAuthentication,
  type PeerModes,
  peerAuthentications,
  peerModesOf,
  ztunnelPeerModes,
} from '@meshpass/istio';
import type { LintContext } from '../context.ts';
import type { Report } from '../rule.ts';
import { ambientWorkloads } from './workloads.ts';

/** Reports ports that require mutual TLS at a sidecar, and not at a ztunnel. */
export function* lostModes({ mesh }: LintContext): Generator<Report> {
  const reported = new Set<PeerAuthentication>();
  for (const { namespace, labels, described } of ambientWorkloads(mesh)) {
    const lost = labels && lostAt(mesh, namespace, labels);
    if (!lost || reported.has(lost.policy)) continue;
    reported.add(lost.policy);
    const [which, at] = lost.port === undefined ? ['every port', []] : [`port ${lost.port}`, [String(lost.port)]];
    yield {
      on: lost.policy,
      path: ['spec', 'portLevelMtls', ...at],
      part: 'key',
      message: `istiod does not send this to the ztunnel, which guards ${described}: ${which} accepts plain text there.`,
    };
  }
}

/** Finds the workload's own policy whose effect is lost, and the port; undefined for every port. */
function lostAt(
  mesh: MeshView,
  namespace: string,
  labels: Labels,
): { readonly policy: PeerAuthentication; readonly port: number | undefined } | undefined {
  const sidecar = peerModesOf(mesh, { namespace, labels, kind: 'sidecar' });
  const policies = peerAuthentications(mesh, { namespace });
  const ztunnel = ztunnelPeerModes(policies, { namespace, labels }, mesh.config.rootNamespace);
  const own = [...sidecar.ports.values()].find(({ policy }) => policy?.spec.portLevelMtls)?.policy;
  const isLost = (port: number | undefined) => modeAt(sidecar, port) === 'STRICT' && modeAt(ztunnel, port) !== 'STRICT';
  if (!own) return undefined;
  const port = [undefined, ...sidecar.ports.keys()].find(isLost);
  return port === undefined && !isLost(undefined) ? undefined : { policy: own, port };
}

function modeAt({ general, ports }: PeerModes, port: number | undefined): string {
  return ((port === undefined ? undefined : ports.get(port)) ?? general).mode;
}
