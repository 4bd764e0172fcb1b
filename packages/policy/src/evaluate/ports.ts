/** Which protocol a port of a workload is declared to speak: it decides whether rules for HTTP or for TCP are evaluated. */
import { protocolOf } from '../istio/port-protocol.ts';
import type { MeshView } from './mesh-view.ts';
import { selects, type Workload } from './workload.ts';

/** `undeclared`: the client's ALPN, or its first bytes, decide. */
export type PortProtocol = 'http' | 'tcp' | 'undeclared';

export interface WorkloadPort {
  readonly port: number;
  readonly protocol: PortProtocol;
  /** Name of the Service (`shop/orders`) or other object that declares it. */
  readonly declaredBy: string;
  /** Ports of Services that lead to it: `orders.shop.svc.cluster.local:80`. */
  readonly reachedAs: readonly string[];
}

/** By port of the workload. What no Service leads to is not in it, and is `undeclared`. */
export function workloadPorts(view: MeshView, workload: Workload): ReadonlyMap<number, WorkloadPort> {
  const ports = new Map<number, WorkloadPort>();
  const add = (port: number, protocol: PortProtocol, declaredBy: string, reachedAs?: string): void => {
    const known = ports.get(port);
    // The oldest Service decides.
    const base = known ?? { port, protocol, declaredBy, reachedAs: [] };
    ports.set(port, { ...base, reachedAs: [...base.reachedAs, ...(reachedAs === undefined ? [] : [reachedAs])] });
  };
  const sidecar = sidecarOf(view, workload);
  for (const { port } of sidecar?.spec.ingress ?? []) {
    if (port?.number !== undefined)
      add(port.number, declaredProtocol(0, port.protocol ?? ''), `${workload.namespace}/${sidecar!.metadata.name}`);
  }
  const only = (sidecar?.spec.ingress?.length ?? 0) > 0;
  for (const { metadata, spec } of view.within('Service', workload.namespace)) {
    if (!spec.selector || Object.keys(spec.selector).length === 0 || !selects(spec.selector, workload.labels)) continue;
    for (const { port, targetPort, name = '', protocol = 'TCP', appProtocol } of spec.ports ?? []) {
      const target = typeof targetPort === 'string' ? workload.portNames.get(targetPort) : targetPort || port;
      if (target === undefined || protocol !== 'TCP') continue;
      const host = `${metadata.name}.${metadata.namespace}.svc.${view.config.clusterDomain}:${port}`;
      const declared = ports.has(target) || !only ? declaredProtocol(port, appProtocol ?? name) : 'undeclared';
      add(target, declared, `${metadata.namespace}/${metadata.name}`, host);
    }
  }
  return ports;
}

/** As Istio reads `appProtocol`, or else the beginning of the port's name. */
function declaredProtocol(port: number, declared: string): PortProtocol {
  const protocol = protocolOf(port, declared);
  return protocol === 'http2' ? 'http' : protocol;
}

/** The Sidecar that governs a workload: one that selects it, else that of the namespace, else that of the root namespace. */
function sidecarOf(view: MeshView, workload: Workload) {
  const ours = view.within('Sidecar', workload.namespace);
  const isWide = (labels?: Readonly<Record<string, string>>) => Object.keys(labels ?? {}).length === 0;
  return (
    ours.find(({ spec }) => {
      const labels = spec.workloadSelector?.labels;
      return !isWide(labels) && selects(labels, workload.labels);
    }) ??
    ours.find(({ spec }) => isWide(spec.workloadSelector?.labels)) ??
    view.within('Sidecar', view.config.rootNamespace).find(({ spec }) => isWide(spec.workloadSelector?.labels))
  );
}
