/** All that the workspace's Envoy is given: what the broker sent, as it was accepted, and what is the agent's own. */
import type { Message } from '@bufbuild/protobuf';
import type { Any } from '@bufbuild/protobuf/wkt';
import { CLUSTER, LISTENER, messageOf, pack, ROUTE_CONFIGURATION, unpack } from '@meshpass/envoy';
import type { ReachableService } from '@meshpass/identity/wire';
import type { KubernetesGrant } from './kubernetes/addresses.ts';
import { type LoopbackProxy, proxyClusters, proxyListeners, proxyRoutes } from './proxy/loopback-proxy.ts';
import { type Accepted, resourcesOf } from './xds/accept.ts';
import type { Lingering } from './xds/lingering.ts';
import { type EdgeAddress, edgeCluster, kubernetesListener, tunnelListener } from './xds/tunnel.ts';
import { WARM_UP, warmUpListener } from './xds/warm-up.ts';

export interface WorkspaceParts {
  /** That have a certificate. */
  readonly grants: readonly string[];
  readonly mesh: { readonly edge: EdgeAddress };
  readonly services: readonly ReachableService[];
  /** Under which grants programs reach the API server of Kubernetes, and where. */
  readonly kubernetes: readonly KubernetesGrant[];
  readonly clusterDomain: string;
  readonly proxy: LoopbackProxy;
  readonly bridgeAddress: string | undefined;
  readonly warmUpSocket: string;
  /** Undefined while there is none. */
  readonly accepted: (Accepted & { readonly refused?: undefined }) | undefined;
  /** Of the tunnels: another one has Envoy open new ones. */
  readonly generation: number;
  readonly lingering: Pick<Lingering, 'with'>;
}

/** @returns resources by type, then by name */
export function resourcesOfWorkspace(parts: WorkspaceParts): Readonly<Record<string, ReadonlyMap<string, Any>>> {
  const { grants, mesh, services, proxy, accepted, lingering } = parts;
  const given = accepted && lingering.with(accepted.resources, grants);
  const received = (type: string) => given?.[type] ?? new Map<string, Any>();
  return {
    [CLUSTER]: new Map([
      ...resourcesOf(CLUSTER, [
        ...grants.map((grant) => edgeCluster(grant, mesh.edge)),
        ...proxyClusters(services, accepted?.internal ?? new Map()),
      ]),
      ...ofGeneration(received(CLUSTER), parts.generation),
    ]),
    [LISTENER]: new Map([
      ...resourcesOf(LISTENER, [
        ...grants.map(tunnelListener),
        ...parts.kubernetes.map((one) => kubernetesListener(one.grant, one)),
        ...proxyListeners(proxy, parts.bridgeAddress),
      ]),
      [WARM_UP, warmUpListener(parts.warmUpSocket)],
      ...received(LISTENER),
    ]),
    [ROUTE_CONFIGURATION]: new Map([
      ...resourcesOf(ROUTE_CONFIGURATION, [proxyRoutes(services, parts.clusterDomain)]),
      ...received(ROUTE_CONFIGURATION),
    ]),
  };
}

/**
 * The same clusters, and others to Envoy, which replaces what has changed: the new one opens its own connections, through new tunnels, and
 * the connections of the old one end when nothing is under way on them. Nothing reads this metadata.
 */
function ofGeneration(clusters: ReadonlyMap<string, Any>, generation: number): ReadonlyMap<string, Any> {
  if (generation === 0) return clusters;
  const written = [...clusters].map(([name, any]) => {
    const cluster = unpack(any) as ClusterMessage;
    cluster.metadata ??= messageOf('envoy.config.core.v3.Metadata', {}) as MetadataMessage;
    cluster.metadata.filterMetadata['meshpass.tunnels'] = { generation };
    return [name, pack(cluster)] as const;
  });
  return new Map(written);
}

// What of Envoy's messages is changed here; the generated types are reflection only.
interface MetadataMessage extends Message {
  readonly filterMetadata: Record<string, { readonly generation: number }>;
}
interface ClusterMessage extends Message {
  metadata?: MetadataMessage;
}
