/** Client TLS of a gateway's calls, which decides whether the workload sees the gateway's identity. */
import type { ClientProxy, MeshView } from '@meshpass/istio';
import { destinationSettingsOf } from './pods-of.ts';
import type { Target } from './router.ts';

export interface GatewayTls {
  /** Reason why it is unknown which identity the workload sees. */
  readonly unknown?: string;
  /** DestinationRule that requires mutual TLS. If undefined, the gateway uses it where the workload accepts it. */
  readonly required?: string;
}

/** Determines how a gateway calls a destination. */
export function clientTlsOf(
  mesh: MeshView,
  gateway: ClientProxy,
  { host, port, subset }: Target['destination'],
): GatewayTls {
  const found = destinationSettingsOf(mesh)(gateway, host).clientTls(port, subset);
  if (!found) return {};
  const { namespace, name } = found.by.metadata;
  const by = `DestinationRule ${namespace}/${name} sets the TLS of calls to ${host}`;
  // An SNI or SubjectAltNames of the rule's own change the connection.
  const isMutual = found.mode === 'ISTIO_MUTUAL' && Object.keys(found.tls).every((member) => member === 'mode');
  return isMutual ? { required: by } : { unknown: by };
}
