/**
 * The guard of a grant: a mesh-wide DENY policy for everything that is not granted. It only applies to identities in
 * the grant's own namespace.
 */
import type { Mesh } from '@meshpass/istio';
import type { Manifest } from '../model.ts';
import { metadata } from './metadata.ts';
import type { ResolvedGrant, ResolvedTarget } from './resolve.ts';
import { namesOfHost, namesOfPort } from './server-names.ts';

const SNI = 'connection.sni';

/**
 * Denies the grant's identities access to every workload in the mesh, unless the SNI of the connection belongs to a
 * port that is granted, in any subset. The first rule denies all ports that are not granted. One more rule per granted
 * port denies all other hosts on that port. All conditions only look at the connection, so the rules mean the same on
 * HTTP and TCP ports.
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
    metadata: metadata(`meshpass-guard-${grant.name}`, mesh.rootNamespace, { grant: grant.name }),
    spec: {
      action: 'DENY',
      rules: [
        // An empty notValues would invalidate the condition, and the whole policy with it. Without any condition, the
        // rule denies everything.
        { from, ...(ports.length > 0 && { when: [{ key: SNI, notValues: ports.map(({ names }) => names) }] }) },
        ...ports.map(({ names, hosts }) => ({ from, when: [{ key: SNI, values: [names], notValues: hosts }] })),
      ],
    },
  };
}

/** Groups the granted hosts by port number. Both ports and hosts are sorted. */
function hostsByPort(
  targets: readonly ResolvedTarget[],
): readonly (readonly [port: number, hosts: readonly string[]])[] {
  const ports = Map.groupBy(targets, ({ port }) => port.port);
  return [...ports]
    .sort(([a], [b]) => a - b)
    .map(([port, some]) => [port, [...new Set(some.map(({ host }) => host))].sort()]);
}
