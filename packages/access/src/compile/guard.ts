/** Per grant: the mesh-wide DENY of everything that is not granted. It names only the grant's own namespace as source. */

import type { Mesh } from '@meshpass/istio';
import type { Manifest } from '../model.ts';
import { metadata } from './metadata.ts';
import type { ResolvedGrant, ResolvedTarget } from './resolve.ts';
import { namesOfHost, namesOfPort } from './server-names.ts';

const SNI = 'connection.sni';

/**
 * Denies the grant's identities on every workload of the mesh unless the connection's SNI is of a granted port, in whatever
 * subset: first what is of no granted port number, then for each number what is of no host that is granted there. Only
 * connection attributes: the rules mean the same on HTTP and on TCP ports.
 */
export function guard({ grant, namespace, targets }: ResolvedGrant, mesh: Mesh): Manifest {
  const from = [{ source: { namespaces: [namespace] } }];
  const ports = hostsByPort(targets).map(([port, hosts]) => ({
    names: namesOfPort(port),
    hosts: hosts.map(namesOfHost),
  }));
  return {
    apiVersion: 'security.istio.io/v1',
    kind: 'AuthorizationPolicy',
    metadata: metadata(`meshpass-guard-${grant.name}`, mesh.rootNamespace, { grant: grant.name, source: grant.place }),
    spec: {
      action: 'DENY',
      rules: [
        // An empty notValues would make the whole condition, and with it the policy, invalid: leave it out and deny all.
        { from, ...(ports.length > 0 && { when: [{ key: SNI, notValues: ports.map(({ names }) => names) }] }) },
        ...ports.map(({ names, hosts }) => ({ from, when: [{ key: SNI, values: [names], notValues: hosts }] })),
      ],
    },
  };
}

/** Granted hosts of each port number, both in order. */
function hostsByPort(
  targets: readonly ResolvedTarget[],
): readonly (readonly [port: number, hosts: readonly string[]])[] {
  const ports = Map.groupBy(targets, ({ port }) => port.port);
  return [...ports]
    .sort(([a], [b]) => a - b)
    .map(([port, some]) => [port, [...new Set(some.map(({ host }) => host))].sort()]);
}
