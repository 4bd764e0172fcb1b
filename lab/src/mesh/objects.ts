/** The Kubernetes objects of the lab. A kubelet and an endpoint controller would write the Pods' status and the EndpointSlices; here they are written as data. */
import type { KubeObject } from '../kubernetes.ts';
import type { Host, MeshService, Plan, Workload } from '../plan.ts';

/** Node of every Pod. */
export const NODE_NAME = 'lab';

/** Objects that must exist before others. */
export const NAMESPACES: readonly KubeObject[] = ['istio-system', 'meshpass-system', 'shop', 'dev'].map(namespaceOf);

/** Namespaces of hosts that are optional. */
export function namespacesOfHosts(hosts: readonly Host[]): KubeObject[] {
  const others = new Set(hosts.flatMap(({ workload }) => workload?.namespace ?? []));
  for (const { metadata } of NAMESPACES) others.delete(metadata.name);
  return [...others].map(namespaceOf);
}

function namespaceOf(name: string): KubeObject {
  return { apiVersion: 'v1', kind: 'Namespace', metadata: { name } };
}

/** Mutual TLS only, in the whole mesh. */
export const STRICT: KubeObject = {
  apiVersion: 'security.istio.io/v1',
  kind: 'PeerAuthentication',
  metadata: { name: 'default', namespace: 'istio-system' },
  spec: { mtls: { mode: 'STRICT' } },
};

/** ServiceAccount and Pod of each host in the mesh. */
export function workloadObjects(hosts: readonly Host[]): KubeObject[] {
  return hosts.flatMap((host) => {
    if (!host.workload) return [];
    const { namespace, serviceAccount } = host.workload;
    return [
      { apiVersion: 'v1', kind: 'ServiceAccount', metadata: { name: serviceAccount, namespace } },
      podOf(host, host.workload),
    ];
  });
}

/** Service and EndpointSlice of each service. */
export function serviceObjects(plan: Pick<Plan, 'services' | 'hosts'>): KubeObject[] {
  return plan.services.flatMap((service) => [serviceOf(service), endpointsOf(service, plan)]);
}

/** Labels of a host's Pod, which its proxy reports to istiod too. */
export function podLabels(host: Host): Record<string, string> {
  const { app, labels, kind } = host.workload ?? { app: host.name, labels: {}, kind: 'sidecar' };
  return {
    app,
    'service.istio.io/canonical-name': app,
    // Without it the mesh gateway has no endpoint to send mutual TLS to.
    ...(kind === 'sidecar' && { 'security.istio.io/tlsMode': 'istio' }),
    ...labels,
  };
}

function podOf(host: Host, { namespace, serviceAccount, kind }: Workload): KubeObject {
  const metadata = {
    name: host.name,
    namespace,
    labels: podLabels(host),
    // istio-cni writes it on a Pod whose traffic it has redirected to ztunnel.
    ...(kind === 'ambient' && { annotations: { 'ambient.istio.io/redirection': 'enabled' } }),
  };
  return podObject(metadata, { serviceAccount, ip: host.ip, container: kind === 'ambient' ? 'app' : 'istio-proxy' });
}

/** Pod that runs and is ready. */
export function podObject(
  metadata: KubeObject['metadata'],
  { serviceAccount, ip, container }: Readonly<Record<'serviceAccount' | 'ip' | 'container', string>>,
): KubeObject {
  const now = new Date().toISOString().replace(/\.\d+Z$/, 'Z');
  const condition = (type: string): object => ({ type, status: 'True', lastTransitionTime: now });
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata,
    spec: { nodeName: NODE_NAME, serviceAccountName: serviceAccount, containers: [{ name: container, image: 'lab' }] },
    status: {
      phase: 'Running',
      podIP: ip,
      podIPs: [{ ip }],
      hostIP: ip,
      startTime: now,
      conditions: ['Initialized', 'Ready', 'ContainersReady', 'PodScheduled'].map(condition),
    },
  };
}

function serviceOf(service: MeshService): KubeObject {
  return {
    apiVersion: 'v1',
    kind: 'Service',
    metadata: {
      name: service.name,
      namespace: service.namespace,
      ...(service.labels && { labels: service.labels }),
    },
    spec: {
      clusterIP: service.clusterIp,
      selector: service.selector,
      ports: service.ports.map(({ name, port, targetPort }) => ({ name, port, targetPort, protocol: 'TCP' })),
    },
  };
}

function endpointsOf(service: MeshService, plan: Pick<Plan, 'hosts'>): KubeObject {
  const hosts = service.hosts.flatMap((host) => plan.hosts[host] ?? []);
  return {
    apiVersion: 'discovery.k8s.io/v1',
    kind: 'EndpointSlice',
    metadata: {
      name: `${service.name}-lab`,
      namespace: service.namespace,
      labels: { 'kubernetes.io/service-name': service.name },
    },
    addressType: 'IPv4',
    ports: service.ports.map(({ name, targetPort }) => ({ name, port: targetPort, protocol: 'TCP' })),
    endpoints: hosts.map((host) => ({
      addresses: [host.ip],
      conditions: { ready: true },
      nodeName: NODE_NAME,
      targetRef: { kind: 'Pod', name: host.name, namespace: service.namespace },
    })),
  };
}
