/** The relay's identity as an Envoy node: a sidecar in the grant's namespace. Nothing in it comes from a workspace. */

import type { Message } from '@bufbuild/protobuf';
import { messageOf } from '@meshpass/envoy';
import { RELAY_ACCOUNT } from '@meshpass/identity';

/** Documentation address (RFC 5737). No Pod or Service has it, so istiod never mistakes the relay for one of them. */
const ADDRESS = '203.0.113.10';
/** Istio version whose sidecars understand everything that istiod currently sends. istiod omits newer features. */
const ISTIO_VERSION = '1.31.0';

/**
 * Builds the node.
 * @param namespace `meshpass-GRANT`
 */
export function relayNode(namespace: string, clusterDomain: string): Message {
  return messageOf('envoy.config.core.v3.Node', {
    id: `sidecar~${ADDRESS}~${RELAY_ACCOUNT}.${namespace}~${namespace}.svc.${clusterDomain}`,
    cluster: `${RELAY_ACCOUNT}.${namespace}`,
    metadata: {
      NAMESPACE: namespace,
      SERVICE_ACCOUNT: RELAY_ACCOUNT,
      // The relay intercepts nothing, but only in this mode does istiod create a listener per service, not per port
      // number.
      INTERCEPTION_MODE: 'REDIRECT',
      CLUSTER_ID: 'Kubernetes',
      LABELS: { app: RELAY_ACCOUNT },
      INSTANCE_IPS: ADDRESS,
      ISTIO_VERSION,
    },
  });
}
