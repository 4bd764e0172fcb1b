/** The protocols that are declared for the ports of workloads. They determine whether HTTP rules or TCP rules apply. */

import type { Service, ServicePort } from '../object/kubernetes.ts';
import type { Labels } from '../object/object.ts';
import type { MeshObjects } from '../object/objects.ts';
import { selects } from '../object/selection.ts';
import type { MeshConfig } from './mesh-config.ts';
import { targetPortOf } from './pod.ts';
import { isTcp, protocolOf } from './port-protocol.ts';
import { servicesSelecting } from './service-index.ts';
import type { Workload } from './workload.ts';

type Serving = Pick<Workload, 'namespace' | 'labels' | 'portNames'>;

/** The protocol of a port. If it is `undeclared`, Istio detects it from the client's ALPN or from the first bytes. */
export type SpokenProtocol = 'http' | 'tcp' | 'undeclared';

export interface WorkloadPort {
  readonly port: number;
  readonly protocol: SpokenProtocol;
  /** The object that declares the protocol, usually a Service such as `shop/orders`. */
  readonly declaredBy: string;
  /** The Service ports that forward to this port, such as `orders.shop:80`. */
  readonly reachedAs: readonly string[];
}

/**
 * Maps each port of a workload to the protocol that is declared for it. Ports without a Service are not included and
 * count as `undeclared`. If more than one Service declares a port, the oldest Service wins.
 * @example
 * ```ts
 * import { loadManifests, viewMesh, workloadPorts } from '@meshpass/istio';
 * const orders = `{apiVersion: v1, kind: Service, metadata: {name: orders, namespace: shop},
 *   spec: {selector: {app: orders}, ports: [{port: 80, name: http, targetPort: web}]}}`;
 * const pod = `{apiVersion: v1, kind: Pod, metadata: {name: orders-1, namespace: shop, labels: {app: orders, pod-template-hash: 5f}},
 *   spec: {serviceAccountName: orders, containers: [{name: app, ports: [{name: web, containerPort: 8080}]}]}}`;
 * const { resources } = loadManifests(`${orders}\n---\n${pod}`, 'mesh.yaml');
 * const view = viewMesh(resources);
 * const ports = workloadPorts(view, view.config, view.workloads[0]!);
 * ports.get(8080)!.protocol; // => 'http'
 * ports.get(8080)!.reachedAs; // => ['orders.shop:80']
 * ```
 */
export function workloadPorts(
  objects: MeshObjects,
  { rootNamespace }: Pick<MeshConfig, 'rootNamespace'>,
  workload: Serving,
): ReadonlyMap<number, WorkloadPort> {
  const ports = new Map<number, WorkloadPort>();
  const add = (port: number, protocol: SpokenProtocol, declaredBy: string, reachedAs: readonly string[]): void => {
    const base = ports.get(port) ?? { port, protocol, declaredBy, reachedAs: [] };
    ports.set(port, { ...base, reachedAs: [...base.reachedAs, ...reachedAs] });
  };
  const sidecar = sidecarOf(objects, rootNamespace, workload);
  const ingress = sidecar?.spec.ingress ?? [];
  for (const { port } of ingress) {
    if (port?.number !== undefined)
      add(port.number, declared(0, port.protocol), `${workload.namespace}/${sidecar!.metadata.name}`, []);
  }
  const services = objects.within('Service', workload.namespace);
  for (const { metadata, spec } of servicesSelecting(services, workload.labels)) {
    for (const servicePort of (spec.ports ?? []).filter(isTcp)) {
      const target = targetPortOf(workload.portNames, servicePort);
      if (target === undefined) continue;
      const host = `${metadata.name}.${metadata.namespace}:${servicePort.port}`;
      const protocol = ports.has(target) || ingress.length === 0 ? declaredProtocol(servicePort) : 'undeclared';
      add(target, protocol, `${metadata.namespace}/${metadata.name}`, [host]);
    }
  }
  return ports;
}

/**
 * Maps the TCP ports of a Service to their declared protocols. If the Service has a waypoint, the waypoint parses these
 * protocols.
 * @example
 * ```ts
 * import { loadManifests, ofKind, servicePortProtocols } from '@meshpass/istio';
 * const orders = `{apiVersion: v1, kind: Service, metadata: {name: orders, namespace: shop}, spec: {ports: [{port: 80, name: http}]}}`;
 * const [service] = ofKind(loadManifests(orders, 'mesh.yaml').resources, 'Service');
 * servicePortProtocols(service!).get(80); // => 'http'
 * ```
 */
export function servicePortProtocols({ spec }: Pick<Service, 'spec'>): ReadonlyMap<number, SpokenProtocol> {
  return new Map((spec.ports ?? []).filter(isTcp).map((one) => [one.port, declaredProtocol(one)]));
}

/**
 * Returns the protocol that a Service port declares, either with `appProtocol` or with the prefix of its name. Policies
 * treat HTTP/2 like HTTP.
 */
function declaredProtocol({ port, appProtocol, name = '' }: ServicePort): SpokenProtocol {
  return declared(port, appProtocol ?? name);
}

function declared(port: number, word = ''): SpokenProtocol {
  const protocol = protocolOf(port, word);
  return protocol === 'http2' ? 'http' : protocol;
}

/**
 * Finds the Sidecar that applies to a workload. This is a Sidecar that selects the workload, or otherwise the default
 * of its namespace, or otherwise the default of the root namespace.
 */
function sidecarOf(objects: MeshObjects, rootNamespace: string, workload: Serving) {
  const ours = objects.within('Sidecar', workload.namespace);
  const isWide = (labels?: Labels) => Object.keys(labels ?? {}).length === 0;
  return (
    ours.find(({ spec }) => {
      const labels = spec.workloadSelector?.labels;
      return !isWide(labels) && selects(labels, workload.labels);
    }) ??
    ours.find(({ spec }) => isWide(spec.workloadSelector?.labels)) ??
    objects.within('Sidecar', rootNamespace).find(({ spec }) => isWide(spec.workloadSelector?.labels))
  );
}
