/** Per grant: the mesh-wide DENY of everything that is not granted. It names only the grant's own namespace as source. */

import type { Mesh } from '@meshpass/istio';
import type { Manifest } from '../model.ts';
import { metadata } from './metadata.ts';
import type { ResolvedGrant } from './resolve.ts';

/**
 * Denies the grant's identities on every workload of the mesh unless the connection's SNI is of a granted port. Only
 * connection attributes: the rule means the same on HTTP and on TCP ports.
 */
export function guard({ grant, namespace, targets }: ResolvedGrant, mesh: Mesh): Manifest {
  const granted = [...new Set(targets.map(({ sni }) => sni))].sort();
  return {
    apiVersion: 'security.istio.io/v1',
    kind: 'AuthorizationPolicy',
    metadata: metadata(`meshpass-guard-${grant.name}`, mesh.rootNamespace, { grant: grant.name, source: grant.place }),
    spec: {
      action: 'DENY',
      rules: [
        {
          from: [{ source: { namespaces: [namespace] } }],
          // An empty notValues would make the whole condition, and with it the policy, invalid: leave it out and deny all.
          ...(granted.length > 0 && { when: [{ key: 'connection.sni', notValues: granted }] }),
        },
      ],
    },
  };
}
