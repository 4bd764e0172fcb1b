/** Which protocol a port of a workload is declared to speak: it decides whether rules for HTTP or for TCP are evaluated. */

import type { ServicePort } from '../object/kubernetes.ts';
import type { Labels } from '../object/object.ts';
import type { MeshObjects } from '../object/objects.ts';
import { selects } from '../object/selection.ts';
import type { MeshConfig } from './mesh-config.ts';
import { targetPortOf } from './pod.ts';
import { isTcp, protocolOf } from './port-protocol.ts';
import type { Workload } from './workload.ts';

type Serving = Pick<Workload, 'namespace' | 'labels' | 'portNames'>;

/** `undeclared`: the client's ALPN, or its first bytes, decide. */
export type SpokenProtocol = 'http' | 'tcp' | 'undeclared';

export interface WorkloadPort {
  readonly port: number;
  readonly protocol: SpokenProtocol;
  /** Name of the Service (`shop/orders`) or other object that declares it. */
  readonly declaredBy: string;
  /** Ports of Services that lead to it: `orders.shop:80`. */
  readonly reachedAs: readonly string[];
}

/**
 * By port of the workload. What no Service leads to is not in it, and is `undeclared`. Of several Services the oldest decides.
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
  const add = (port: number, protocol: SpokenProtocol, declaredBy: string, reachedAs?: string): void => {
    const base = ports.get(port) ?? { port, protocol, declaredBy, reachedAs: [] };
    ports.set(port, { ...base, reachedAs: [...base.reachedAs, ...(reachedAs === undefined ? [] : [reachedAs])] });
  };
  const sidecar = sidecarOf(objects, rootNamespace, workload);
  for (const { port } of sidecar?.spec.ingress ?? []) {
    if (port?.number !== undefined)
      add(port.number, declared(0, port.protocol ?? ''), `${workload.namespace}/${sidecar!.metadata.name}`);
  }
  const only = (sidecar?.spec.ingress?.length ?? 0) > 0;
  for (const { metadata, spec } of objects.within('Service', workload.namespace)) {
    if (!spec.selector || Object.keys(spec.selector).length === 0 || !selects(spec.selector, workload.labels)) continue;
    for (const servicePort of spec.ports ?? []) {
      if (!isTcp(servicePort)) continue;
      const target = targetPortOf(workload.portNames, servicePort);
      if (target === undefined) continue;
      const host = `${metadata.name}.${metadata.namespace}:${servicePort.port}`;
      const protocol = ports.has(target) || !only ? declaredProtocol(servicePort) : 'undeclared';
      add(target, protocol, `${metadata.namespace}/${metadata.name}`, host);
    }
  }
  return ports;
}

/** As Istio reads `appProtocol`, or else the beginning of the port's name. HTTP/2 is HTTP to policies. */
export function declaredProtocol({ port, appProtocol, name = '' }: ServicePort): SpokenProtocol {
  return declared(port, appProtocol ?? name);
}

function declared(port: number, word: string): SpokenProtocol {
  const protocol = protocolOf(port, word);
  return protocol === 'http2' ? 'http' : protocol;
}

/** The Sidecar that governs a workload: one that selects it, else that of the namespace, else that of the root namespace. */
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
