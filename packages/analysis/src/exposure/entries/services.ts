/**
 * Lists Services that expose workloads without a gateway, through load balancers, node ports or external addresses.
 * Source: the Service API reference.
 */

import { fullHost, type MeshView, protocolOf, type Service, type ServicePort } from '@meshpass/istio';
import { items } from '@meshpass/istio/members';
import { type EntryKind, type EntryPoint, type Exposure, type Identity, publishedExposure } from '../exposure.ts';
import { findPublication, whyInternalService } from '../internal.ts';
import { isGatewayService } from './gateway-service.ts';

/** Lists the Service ports that are published outside the cluster, except for those of gateways. */
export function listServiceExposures(mesh: MeshView, transport: 'TCP' | 'UDP' = 'TCP'): readonly Exposure[] {
  return mesh.all('Service').flatMap((service) => {
    const published = findPublication(service);
    if (!published || isGatewayService(mesh, service)) return [];
    const { name, namespace } = service.metadata;
    const host = fullHost(name, namespace, mesh.config.clusterDomain);
    const ports = items(service.spec.ports).filter(({ protocol = 'TCP' }) => protocol === transport);
    return ports.map((port) =>
      publishedExposure(service, published.path, {
        protocol: isHttp(port) ? 'http' : 'tcp',
        entries: [entryPointOf(service, published.kind, port)],
        destination: { host, subset: undefined, port: port.port },
        service,
      }),
    );
  });
}

function isHttp({ port, name = '', appProtocol }: ServicePort): boolean {
  return /^http/.test(protocolOf(port, appProtocol ?? name));
}

/** Creates the entry point for one port of a published Service. */
function entryPointOf(service: Service, kind: EntryKind, { port, nodePort }: ServicePort): EntryPoint {
  const { name, namespace } = service.metadata;
  return {
    kind,
    name: `${namespace}/${name}`,
    object: service,
    ports: [{ number: kind === 'NodePort' ? nodePort : port, protocol: undefined }],
    proxy: { by: 'none' },
    own: NO_GATEWAY,
    internal: whyInternalService(service),
  };
}

export const NO_GATEWAY: Identity = { state: 'none', reason: 'no gateway is in front of the workload' };
