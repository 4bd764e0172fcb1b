/**
 * Assembles the configuration of the workspace's Envoy from the accepted broker resources and the agent's own
 * resources.
 */
import type { Message } from '@bufbuild/protobuf';
import type { Any } from '@bufbuild/protobuf/wkt';
import { CLUSTER, LISTENER, messageFromJson, pack, ROUTE_CONFIGURATION, unpack } from '@meshpass/envoy';
import type { MeshInfo, ReachableService } from '@meshpass/identity/wire';
import type { KubernetesGrant } from './kubernetes/addresses.ts';
import { type LoopbackProxy, proxyClusters, proxyListeners, proxyRoutes } from './proxy/loopback-proxy.ts';
import { type AcceptedConfiguration, indexResources } from './xds/accept.ts';
import type { EnvoyResources } from './xds/discovery.ts';
import type { LingeringResources } from './xds/lingering.ts';
import { edgeCluster, kubernetesListener, tunnelListener } from './xds/tunnel.ts';
import { warmUpListener } from './xds/warm-up.ts';

export interface WorkspaceParts {
  /** The grants that have a certificate. */
  readonly grants: readonly string[];
  readonly mesh: Pick<MeshInfo, 'edge' | 'contact'>;
  readonly services: readonly ReachableService[];
  /** The grants with access to the Kubernetes API server, each with its loopback address. */
  readonly kubernetes: readonly KubernetesGrant[];
  readonly clusterDomain: string;
  readonly proxy: LoopbackProxy;
  readonly bridgeAddress: string | undefined;
  readonly warmUpSocket: string;
  /** The configuration that was accepted last. Undefined if none has been accepted yet. */
  readonly accepted: AcceptedConfiguration | undefined;
  /** The generation of the tunnels. A new generation makes Envoy open new tunnels. */
  readonly generation: number;
  readonly lingering: Pick<LingeringResources, 'with'>;
}

/**
 * Builds all resources of the workspace's Envoy.
 * @returns the resources, by type URL and name
 */
export function buildWorkspaceResources(parts: WorkspaceParts): EnvoyResources {
  const { grants, mesh, services, proxy, accepted, lingering } = parts;
  const given = accepted && lingering.with(accepted.resources, grants);
  const received = (type: string) => given?.[type] ?? new Map<string, Any>();
  return {
    [CLUSTER]: new Map([
      ...indexResources(CLUSTER, [
        ...grants.map((grant) => edgeCluster(grant, mesh.edge)),
        ...proxyClusters(services, accepted?.internal ?? new Map()),
      ]),
      ...ofGeneration(received(CLUSTER), parts.generation),
    ]),
    [LISTENER]: new Map([
      ...indexResources(LISTENER, [
        ...grants.map(tunnelListener),
        ...parts.kubernetes.map((one) => kubernetesListener(one.grant, one)),
        ...proxyListeners(proxy, parts.bridgeAddress),
        warmUpListener(parts.warmUpSocket),
      ]),
      ...received(LISTENER),
    ]),
    [ROUTE_CONFIGURATION]: new Map([
      ...indexResources(ROUTE_CONFIGURATION, proxyRoutes(services, parts.clusterDomain, mesh.contact)),
      ...received(ROUTE_CONFIGURATION),
    ]),
  };
}

/**
 * Marks clusters with their generation, using metadata that has no other purpose. Envoy then considers each cluster
 * changed and replaces it. The new cluster opens its own connections through new tunnels, and the old cluster's
 * connections close once they are idle.
 */
function ofGeneration(clusters: ReadonlyMap<string, Any>, generation: number): ReadonlyMap<string, Any> {
  if (generation === 0) return clusters;
  const written = [...clusters].map(([name, any]) => {
    const cluster = unpack(any) as ClusterMessage;
    cluster.metadata ??= messageFromJson('envoy.config.core.v3.Metadata', {}) as MetadataMessage;
    cluster.metadata.filterMetadata['meshpass.tunnels'] = { generation };
    return [name, pack(cluster)] as const;
  });
  return new Map(written);
}

// The fields of Envoy messages that are changed here. They are declared because the generated types only support
// reflection.
interface MetadataMessage extends Message {
  readonly filterMetadata: Record<string, { readonly generation: number }>;
}
interface ClusterMessage extends Message {
  metadata?: MetadataMessage;
}
