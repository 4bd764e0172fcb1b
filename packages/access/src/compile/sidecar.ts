/** Per grant: what of the mesh its workspaces see, as Istio's Sidecar. */
import type { Manifest } from '../model.ts';
import { metadata } from './metadata.ts';
import type { ResolvedGrant } from './resolve.ts';

/** Istio's way to say that nothing is visible: no egress at all would mean everything. */
const NOTHING = ['~/*'];

/**
 * The Sidecar of the grant's namespace: of all services, istiod configures its workspaces for the granted hosts only.
 *
 * One listener for all of them, without port and address: Istio refuses two egress listeners with one port number, whatever
 * addresses they bind (pkg/config/validation, ValidateSidecar), and routes are by port. The broker binds what istiod answers to
 * loopback addresses. `*` before the host is the namespace of VirtualServices too: as for any workload, those of all namespaces
 * count that are exported to this one.
 */
export function sidecar({ grant, namespace, targets }: ResolvedGrant): Manifest {
  const hosts = [...new Set(targets.map(({ host }) => `*/${host}`))].sort();
  return {
    apiVersion: 'networking.istio.io/v1',
    kind: 'Sidecar',
    metadata: metadata('meshpass', namespace, { grant: grant.name, source: grant.place }),
    spec: {
      egress: [{ hosts: hosts.length > 0 ? hosts : NOTHING }],
      outboundTrafficPolicy: { mode: 'REGISTRY_ONLY' },
    },
  };
}
