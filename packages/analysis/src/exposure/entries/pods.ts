/**
 * Lists Pods that accept calls without a Service: on a host port, in the host network, or at Sidecar listeners that
 * terminate TLS themselves or forward to Envoy's admin interface. Sources: the Pod API reference, and Istio's Sidecar
 * reference.
 */

import {
  isTcp,
  type MeshView,
  type Path,
  type PodWorkload,
  type Sidecar,
  selects,
  targetPortOf,
} from '@meshpass/istio';
import { items, labels, record } from '@meshpass/istio/members';
import { type EntryKind, type EntryPoint, type Exposure, type Identity, publishedExposure } from '../exposure.ts';
import { findPublication, longRunningContainers } from '../internal.ts';
import { isGatewayPod } from './gateway-service.ts';
import { NO_GATEWAY } from './services.ts';

/** The namespaces of node agents, which depend on the host network. */
const SYSTEM = new Set(['kube-system', 'kube-public', 'kube-node-lease', 'local-path-storage', 'calico-system']);

/** Checks whether a namespace is reserved for system components such as node agents. */
export function isSystemNamespace({ config }: MeshView, namespace: string): boolean {
  return SYSTEM.has(namespace) || namespace === config.rootNamespace;
}

/** Matches addresses that are only reachable from the node itself. */
const LOOPBACK = /^(?:127\.|::1$)/;

interface PodPort {
  readonly kind: EntryKind;
  readonly path: Path;
  /** The port of the Pod. Undefined if none of its containers declares a port. */
  readonly port: number | undefined;
  /** The port of the node at which the Pod is reachable. Undefined if it is unknown. */
  readonly at: number | undefined;
}

/** Lists the Pod ports that are published on nodes, and the Sidecar listeners that terminate TLS. */
export function listPodExposures(mesh: MeshView): readonly Exposure[] {
  const pods = mesh.workloads.filter((pod) => !isGatewayPod(pod));
  return [
    ...pods.flatMap((workload) => portsOf(mesh, workload).map((port) => exposureOf(workload, port))),
    ...mesh.all('Sidecar').flatMap((sidecar) => ofSidecar(mesh, sidecar)),
  ];
}

function portsOf(mesh: MeshView, { pod, podPath, namespace }: PodWorkload): readonly PodPort[] {
  const onNode = { kind: 'hostNetwork', path: [...podPath, 'hostNetwork'] } as const;
  const declared = longRunningContainers(pod).flatMap(({ container, path: at }) =>
    items(container.ports).flatMap((port, nth): readonly PodPort[] => {
      const { containerPort, hostPort, hostIP } = port;
      if (typeof containerPort !== 'number' || !isTcp(port)) return [];
      if (pod.hostNetwork === true) return [{ ...onNode, port: containerPort, at: containerPort }];
      return typeof hostPort === 'number' && !LOOPBACK.test(hostIP ?? '')
        ? [{ kind: 'hostPort', path: [...podPath, ...at, 'ports', nth, 'hostPort'], port: containerPort, at: hostPort }]
        : [];
    }),
  );
  const isSilent = longRunningContainers(pod).every(({ container }) => items(container.ports).length === 0);
  // Containers can listen on ports that they do not declare.
  return pod.hostNetwork === true && isSilent && !isSystemNamespace(mesh, namespace)
    ? [{ ...onNode, port: undefined, at: undefined }]
    : declared;
}

function exposureOf(workload: PodWorkload, { kind, path, port, at }: PodPort): Exposure {
  const { object, namespace, name } = workload;
  const entry: EntryPoint = {
    kind,
    name: `${namespace}/${name}`,
    object,
    ports: [{ number: at, protocol: undefined }],
    proxy: { by: 'none' },
    own: port === undefined ? UNDECLARED : NO_GATEWAY,
    internal: undefined,
  };
  return publishedExposure(object, path, atPod(workload, port, entry));
}

function atPod(workload: PodWorkload, port: number | undefined, entry: EntryPoint) {
  const destination = { host: `${workload.name}.${workload.namespace}`, subset: undefined, port };
  return { protocol: 'tcp', entries: [entry], destination, service: undefined, pod: { workload, port } } as const;
}

const UNDECLARED: Identity = {
  state: 'unknown',
  reason:
    'no container declares a port, so that these files do not show whether one listens in the network of the node',
};

/** Matches the endpoint of Envoy's admin interface, which is normally only reachable from within the Pod. */
const ENVOY_ADMIN_ENDPOINT = /:1500[04]$/;

/**
 * Lists the exposed listeners of a Sidecar. If a listener terminates TLS itself, it accepts clients without a mesh
 * certificate.
 */
function ofSidecar(mesh: MeshView, sidecar: Sidecar): readonly Exposure[] {
  const { namespace, name } = sidecar.metadata;
  const workload = mesh
    .podsIn(namespace)
    .find((pod) => !isGatewayPod(pod) && selects(labels(sidecar.spec.workloadSelector?.labels), pod.labels));
  return items(sidecar.spec.ingress).flatMap(({ port, tls, defaultEndpoint }, index): readonly Exposure[] => {
    const terminates = tls !== undefined && tls !== null;
    const leads = ENVOY_ADMIN_ENDPOINT.test(String(defaultEndpoint));
    if (!workload || (!terminates && !leads) || (!leads && isPublished(mesh, workload, port?.number))) return [];
    const path: Path = ['spec', 'ingress', index, leads ? 'defaultEndpoint' : 'tls'];
    const entry: EntryPoint = {
      kind: 'Sidecar',
      name: `${namespace}/${name}`,
      object: sidecar,
      ports: [{ number: port?.number, protocol: port?.protocol }],
      proxy: { by: 'none' },
      own: requiredByTls(record(tls)),
      internal: undefined,
    };
    return [publishedExposure(sidecar, path, { ...atPod(workload, port?.number, entry), root: workload.object })];
  });
}

/** Checks whether a Service in front of the listener is already an entry point. */
function isPublished(mesh: MeshView, workload: PodWorkload, listener: number | undefined): boolean {
  return mesh
    .servicesBefore(workload)
    .some(
      (service) =>
        findPublication(service) !== undefined &&
        items(service.spec.ports).some((port) => targetPortOf(workload.portNames, port) === listener),
    );
}

function requiredByTls({ mode }: { readonly mode?: unknown }): Identity {
  return mode === 'MUTUAL' || mode === 'ISTIO_MUTUAL'
    ? { state: 'required', reason: 'the listener requires a client certificate' }
    : { state: 'unknown', reason: 'these files do not show whether clients outside the cluster reach this listener' };
}
