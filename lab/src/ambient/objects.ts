/** Kubernetes objects of ambient mode besides Pods and Services, which `mesh/objects.ts` has for every host. */
import type { KubeObject } from '../kubernetes.ts';
import { NODE_NAME, podObject } from '../mesh/objects.ts';
import { AMBIENT_NAMESPACE, HBONE_PORT, type Host, WAYPOINT } from '../plan.ts';

/** ServiceAccount and Pod of the node's ztunnel. */
export const ZTUNNEL = { namespace: 'istio-system', serviceAccount: 'ztunnel', pod: `ztunnel-${NODE_NAME}` } as const;

export const AMBIENT: KubeObject = {
  apiVersion: 'v1',
  kind: 'Namespace',
  metadata: { name: AMBIENT_NAMESPACE, labels: { 'istio.io/dataplane-mode': 'ambient' } },
};

/** Waypoint for Services. istiod serves it once Gateway API is installed. */
export const GATEWAY: KubeObject = {
  apiVersion: 'gateway.networking.k8s.io/v1',
  kind: 'Gateway',
  metadata: { name: WAYPOINT, namespace: AMBIENT_NAMESPACE, labels: { 'istio.io/waypoint-for': 'service' } },
  spec: {
    gatewayClassName: 'istio-waypoint',
    listeners: [{ name: 'mesh', port: HBONE_PORT, protocol: 'HBONE' }],
  },
};

/** istiod signs certificates of a node's Pods for the ztunnel whose own Pod is on that node. */
export function ztunnelObjects({ ip }: Host): readonly KubeObject[] {
  const { namespace, serviceAccount, pod } = ZTUNNEL;
  return [
    { apiVersion: 'v1', kind: 'ServiceAccount', metadata: { name: serviceAccount, namespace } },
    podObject({ name: pod, namespace, labels: { app: 'ztunnel' } }, { serviceAccount, ip, container: 'istio-proxy' }),
  ];
}
