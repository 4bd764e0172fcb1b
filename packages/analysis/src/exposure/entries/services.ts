/**
 * Lists Services that expose workloads without a gateway, through load balancers, node ports or external addresses.
 * Source: the Service API reference.
 */

import { fullHost, isTcp, type MeshView, type Path, protocolOf, type Service, type ServicePort } from '@meshpass/istio';
import { items, texts } from '@meshpass/istio/members';
import { type EntryKind, type EntryPoint, EVERY_CALL, type Exposure, type Identity } from '../exposure.ts';
import { whyInternalService } from '../internal.ts';
import { isGatewayService } from './gateway-service.ts';

/** Lists the Service ports that are published outside the cluster, except for those of gateways. */
export function listServiceExposures(mesh: MeshView): readonly Exposure[] {
  return mesh.all('Service').flatMap((service) => {
    const published = findPublication(service);
    if (!published || isGatewayService(mesh, service)) return [];
    const { name, namespace } = service.metadata;
    const host = fullHost(name, namespace, mesh.config.clusterDomain);
    return items(service.spec.ports)
      .filter(isTcp)
      .map(
        (port): Exposure => ({
          on: service,
          root: service,
          path: published.path,
          destinationPath: published.path,
          protocol: isHttp(port) ? 'http' : 'tcp',
          entries: [entryPointOf(service, published.kind, port)],
          ...EVERY_CALL,
          destination: { host, subset: undefined, port: port.port },
          service,
        }),
      );
  });
}

/** Determines how a Service is published, and which field publishes it. Returns undefined if it is not published. */
export function findPublication({ spec }: Service): { readonly kind: EntryKind; readonly path: Path } | undefined {
  if (spec.type === 'LoadBalancer' || spec.type === 'NodePort') return { kind: spec.type, path: ['spec', 'type'] };
  if (spec.type !== 'ExternalName' && texts(spec.externalIPs).length > 0) {
    return { kind: 'externalIPs', path: ['spec', 'externalIPs'] };
  }
  return undefined;
}

function isHttp({ port, name = '', appProtocol }: ServicePort): boolean {
  return /^http/.test(protocolOf(port, appProtocol ?? name));
}

/** Creates the entry point for one port of a published Service. */
export function entryPointOf(service: Service, kind: EntryKind, { port, nodePort }: ServicePort): EntryPoint {
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
