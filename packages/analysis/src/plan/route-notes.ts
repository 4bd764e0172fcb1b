/**
 * Creates the notes in a plan about routes that lead to destinations outside a grant. Policies still restrict every
 * call, but some calls fail when they come from a workspace, even though the same calls from a Pod succeed.
 */
import type { MeshShape, ResolvedGrant } from '@meshpass/access/compile';
import { findMeshConfig, type Resource, viewMesh } from '@meshpass/istio';
import {
  describeRouteOutside,
  findRoutesOutsideGrants,
  type GrantReach,
  type RouteOutsideGrant,
} from '../routes/outside-grant.ts';
import type { Finding } from './finding.ts';

/**
 * Creates the notes about routes for a change.
 * @param grants the grants after the change
 */
export function routeNotes(
  cluster: readonly Resource[],
  grants: readonly ResolvedGrant[],
  { rootNamespace, clusterDomain }: Pick<MeshShape, 'rootNamespace' | 'clusterDomain'>,
): readonly Finding[] {
  const mesh = viewMesh(cluster, { ...findMeshConfig(cluster), rootNamespace, clusterDomain });
  const reaches = grants.map(
    ({ grant, namespace, targets }): GrantReach => ({
      grant: grant.name,
      namespace,
      place: grant.place,
      ports: targets.map(({ host, port }) => ({
        host,
        port: port.port,
        protocol: port.protocol === 'tcp' ? ('tcp' as const) : ('http' as const),
      })),
    }),
  );
  return findRoutesOutsideGrants(mesh, reaches).map((route): Finding => {
    const { grant, called, does } = route;
    return {
      kind: 'note',
      grant: grant.grant,
      message: describeRouteOutside(route),
      because: whereOf(route),
      example: `a ${does === 'closed' ? 'connection' : 'call'} to ${called[0]} on this route`,
    };
  });
}

function whereOf({ on, path }: RouteOutsideGrant): string {
  const { origin, metadata } = on;
  const place = origin.line > 0 ? origin.at(path) : undefined;
  const written = place === undefined ? '' : ` (${place.file}:${place.line})`;
  return `routed by VirtualService ${metadata.namespace}/${metadata.name}${written}`;
}
