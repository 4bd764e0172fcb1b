/** Who the relay says that it is to istiod: a sidecar of the grant's namespace. No word of it comes from a workspace. */

import type { Message } from '@bufbuild/protobuf';
import { messageOf } from '@meshpass/envoy';
import { RELAY_ACCOUNT } from '@meshpass/identity';

/** For documentation (RFC 5737): no Pod and no Service of any cluster has it, so that istiod takes the relay for none of them. */
const ADDRESS = '203.0.113.10';
/** An Istio whose sidecars understand what istiod sends today: it leaves out what is newer than that. */
const ISTIO_VERSION = '1.31.0';

/** @param namespace `meshpass-GRANT` */
export function relayNode(namespace: string, clusterDomain: string): Message {
  return messageOf('envoy.config.core.v3.Node', {
    id: `sidecar~${ADDRESS}~${RELAY_ACCOUNT}.${namespace}~${namespace}.svc.${clusterDomain}`,
    cluster: `${RELAY_ACCOUNT}.${namespace}`,
    metadata: {
      NAMESPACE: namespace,
      SERVICE_ACCOUNT: RELAY_ACCOUNT,
      // Nothing is intercepted; but only so does istiod make a listener for each service, instead of one for each port number.
      INTERCEPTION_MODE: 'REDIRECT',
      CLUSTER_ID: 'Kubernetes',
      LABELS: { app: RELAY_ACCOUNT },
      INSTANCE_IPS: ADDRESS,
      ISTIO_VERSION,
    },
  });
}
