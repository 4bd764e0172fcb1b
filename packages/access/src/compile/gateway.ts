/** The mesh's Gateway: which hosts it forwards. */

import type { Mesh } from '@meshpass/istio';
import type { Manifest } from '../model.ts';
import { metadata } from './metadata.ts';
import type { ResolvedGrant } from './resolve.ts';

/**
 * Compiles the Gateway with exactly the granted hosts; none if nothing is granted.
 *
 * Hosts are full names, because Istio does not restrict `namespace/host` in this mode. A Gateway does not restrict
 * ports either; the edge and the guard do. Istio builds these passthrough listeners without authorization filters
 * (pilot/pkg/networking/core/gateway.go), so no policy applies here and none is needed.
 */
export function gateway(grants: readonly ResolvedGrant[], mesh: Mesh): Manifest[] {
  const hosts = [...new Set(grants.flatMap(({ targets }) => targets.map(({ host }) => host)))].sort();
  if (hosts.length === 0) return [];
  return [
    {
      apiVersion: 'networking.istio.io/v1',
      kind: 'Gateway',
      metadata: metadata('meshpass', mesh.gateway.namespace),
      spec: {
        selector: mesh.gateway.labels,
        servers: [
          {
            port: { number: mesh.gateway.port, name: 'tls-meshpass', protocol: 'TLS' },
            tls: { mode: 'AUTO_PASSTHROUGH' },
            hosts,
          },
        ],
      },
    },
  ];
}
