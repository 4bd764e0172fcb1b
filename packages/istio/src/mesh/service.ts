import type { Service } from '../object/kubernetes.ts';
import type { Metadata } from '../object/object.ts';
import type { MeshService } from './mesh.ts';
import { isTcp, protocolOf } from './port-protocol.ts';

/** The fields of a Kubernetes Service that this module uses. */
interface ServiceObject {
  readonly metadata: Pick<Metadata, 'name' | 'namespace' | 'labels'>;
  readonly spec: Pick<Service['spec'], 'type' | 'selector' | 'clusterIP' | 'clusterIPs' | 'ports'>;
}

/**
 * Converts a Service to the model. The result contains the TCP ports of the Service, but not its workloads.
 * @returns the Service, or undefined for an ExternalName Service, which has no workloads in the cluster
 * @example
 * ```ts
 * import { meshServiceOf } from '@meshpass/istio';
 * const metadata = { name: 'orders', namespace: 'shop' };
 * const service = meshServiceOf({ metadata, spec: { ports: [{ port: 80, name: 'http' }, { port: 53, protocol: 'UDP' }] } });
 * service!.ports; // => [{ port: 80, targetPort: 80, name: 'http', protocol: 'http' }]
 * ```
 */
export function meshServiceOf({ metadata, spec }: ServiceObject): Omit<MeshService, 'workloads'> | undefined {
  if (spec.type === 'ExternalName') return undefined;
  const ports = (spec.ports ?? []).filter(isTcp);
  const addresses = (spec.clusterIPs ?? [spec.clusterIP ?? '']).filter((one) => one !== '' && one !== 'None');
  return {
    name: metadata.name,
    namespace: metadata.namespace,
    selector: spec.selector ?? {},
    ...(metadata.labels && { labels: metadata.labels }),
    ...(addresses.length > 0 && { addresses }),
    ports: ports.map(({ port, targetPort = port, name = '', appProtocol }) => ({
      port,
      targetPort,
      name,
      protocol: protocolOf(port, appProtocol ?? name),
    })),
  };
}
