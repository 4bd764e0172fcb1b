/**
 * Ports to which the mesh gateway forwards no connection. It forwards only to endpoints that istiod considers to accept
 * mutual TLS of Istio, which a DestinationRule decides before anything else. Source: `checkMtlsEnabled` in
 * pilot/pkg/xds/endpoints/mtls_checker.go of Istio 1.31.
 */

import type { MeshShape } from '@meshpass/access/compile';
import { destinationSettings, indexObjects, type MeshConfig, type Resource } from '@meshpass/istio';

type Place = Pick<MeshShape, 'gateway' | 'clusterDomain' | 'rootNamespace'> & { readonly config: MeshConfig };

/** Creates a function that returns why the mesh gateway forwards no connection to a Service port. */
export function forwarding(
  cluster: readonly Resource[],
  { gateway, clusterDomain, rootNamespace, config }: Place,
): (service: { readonly name: string; readonly namespace: string }, port: number) => string | undefined {
  const settingsOf = destinationSettings(indexObjects(cluster), { ...config, clusterDomain, rootNamespace });
  return ({ name, namespace }, port) => {
    const setting = settingsOf(gateway, `${name}.${namespace}.svc.${clusterDomain}`).clientTls(port);
    if (!setting || setting.mode === 'ISTIO_MUTUAL') return undefined;
    const by = `DestinationRule ${setting.by.metadata.namespace}/${setting.by.metadata.name}`;
    return `${by} sets tls.mode ${setting.mode}, and the mesh gateway forwards to ISTIO_MUTUAL only`;
  };
}
