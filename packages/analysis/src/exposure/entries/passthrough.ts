/**
 * Lists Services behind gateways between networks (`AUTO_PASSTHROUGH`), such as the Meshpass gateway behind its edge.
 * The SNI selects the Service, and the workload itself terminates TLS. MP203 and MP204 already check the hosts of such
 * servers, so these exposures only appear in the exposure list. Source: `ServerTLSSettings` in the Gateway reference.
 */

import {
  coversHost,
  fullHost,
  type Gateway,
  type GatewayServer,
  type MeshView,
  selects,
  serverHost,
} from '@meshpass/istio';
import { items, labels, texts } from '@meshpass/istio/members';
import { type EntryPoint, type Exposure, publishedExposure } from '../exposure.ts';
import { determineReach, findPublication, whyInternalService } from '../internal.ts';
import { isGatewayService } from './gateway-service.ts';
import { toEntryPoint } from './virtual-services.ts';

/** Lists the Services to which AUTO_PASSTHROUGH servers forward connections. */
export function listPassthroughExposures(mesh: MeshView): readonly Exposure[] {
  return mesh.all('Gateway').flatMap((gateway) =>
    items(gateway.spec.servers).flatMap((server, index) => {
      if (server.tls?.mode !== 'AUTO_PASSTHROUGH') return [];
      const edges = edgesBefore(mesh, gateway);
      const entries = edges.length > 0 ? edges : [entryOf(mesh, gateway, server)];
      return texts(server.hosts).flatMap((written, nth) =>
        exposuresOfHost(mesh, gateway, entries, serverHost(written, gateway.metadata.namespace).host, [
          'spec',
          'servers',
          index,
          'hosts',
          nth,
        ]),
      );
    }),
  );
}

function exposuresOfHost(
  mesh: MeshView,
  gateway: Gateway,
  entries: readonly EntryPoint[],
  pattern: string,
  path: Exposure['path'],
): readonly Exposure[] {
  const { clusterDomain } = mesh.config;
  return mesh.all('Service').flatMap((service): readonly Exposure[] => {
    const host = fullHost(service.metadata.name, service.metadata.namespace, clusterDomain);
    if (!coversHost(pattern, host) || isGatewayService(mesh, service)) return [];
    const destination = { host, subset: undefined, port: undefined };
    return [publishedExposure(gateway, path, { protocol: 'tls', entries, hosts: [host], destination, service })];
  });
}

/** Describes the gateway as an entry point. It passes TLS through, so the workload sees the actual caller. */
function entryOf(mesh: MeshView, gateway: Gateway, server: GatewayServer): EntryPoint {
  const { namespace, name } = gateway.metadata;
  return {
    ...toEntryPoint(mesh, { gateway, name: `${namespace}/${name}`, server }, [server]),
    proxy: { by: 'none' },
    own: { state: 'none', reason: 'the gateway forwards TLS, and no policy applies there' },
  };
}

/**
 * Lists the published ports of the Meshpass edge in front of a gateway that is not otherwise published. Edge Pods are
 * recognized by the labels from the Helm chart. The edge only forwards a session's connections to the targets of its
 * grants.
 */
function edgesBefore(mesh: MeshView, { metadata: { namespace }, spec }: Gateway): readonly EntryPoint[] {
  if (determineReach(mesh, { namespace, selector: labels(spec.selector) }).unpublished === undefined) return [];
  return mesh
    .within('Service', namespace)
    .filter((service) => findPublication(service) && selects(EDGE, labels(service.spec.selector)))
    .map((service) => ({
      kind: 'Edge',
      name: `${namespace}/${service.metadata.name}`,
      object: service,
      ports: items(service.spec.ports).map(({ port }) => ({ number: port, protocol: undefined })),
      proxy: { by: 'none' },
      own: { state: 'required', reason: 'the edge requires the certificate of a session with a grant' },
      internal: whyInternalService(service),
    }));
}

const EDGE = { 'app.kubernetes.io/name': 'meshpass', 'app.kubernetes.io/component': 'edge' };
