/** A grant's Sidecar: the part of the mesh that its workspaces see. */
import type { Manifest } from '../model.ts';
import { metadata } from './metadata.ts';
import type { ResolvedGrant } from './resolve.ts';

/** Istio's notation for no visible host. An empty egress would mean everything. */
const NOTHING = ['~/*'];

/**
 * Compiles the Sidecar of the grant's namespace. It limits what istiod configures to the granted hosts.
 *
 * A single listener without port and address serves all hosts. Istio rejects two egress listeners with the same port
 * number, whatever addresses they bind (pkg/config/validation, ValidateSidecar), and routes are per port. The broker
 * binds istiod's listeners to loopback addresses. `*` before the host also covers the namespace of VirtualServices: as
 * for any workload, all VirtualServices that are exported to this namespace apply.
 */
export function sidecar({ grant, namespace, targets }: ResolvedGrant): Manifest {
  const hosts = [...new Set(targets.map(({ host }) => `*/${host}`))].sort();
  return {
    apiVersion: 'networking.istio.io/v1',
    kind: 'Sidecar',
    metadata: metadata('meshpass', namespace, { grant: grant.name }),
    spec: {
      egress: [{ hosts: hosts.length > 0 ? hosts : NOTHING }],
      outboundTrafficPolicy: { mode: 'REGISTRY_ONLY' },
    },
  };
}
