/** Per mesh: which hosts the mesh gateway passes on. */

import type { Mesh } from '@meshpass/istio';
import type { Manifest } from '../model.ts';
import { metadata } from './metadata.ts';
import type { ResolvedGrant } from './resolve.ts';

/**
 * The Gateway with exactly the granted hosts; none where nothing is granted.
 *
 * Hosts are full names: Istio does not restrict `namespace/host` in this mode. Ports are not restricted by a Gateway
 * either; the edge and the guard do that. Istio builds these passthrough listeners without authorization filters
 * (pilot/pkg/networking/core/gateway.go), so no policy of anybody's applies here and none is needed.
 */
export function gateway(grants: readonly ResolvedGrant[], mesh: Mesh, source: string): Manifest[] {
  const hosts = [...new Set(grants.flatMap(({ targets }) => targets.map(({ host }) => host)))].sort();
  if (hosts.length === 0) return [];
  return [
    {
      apiVersion: 'networking.istio.io/v1',
      kind: 'Gateway',
      metadata: metadata('meshpass', mesh.gateway.namespace, { source }),
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
