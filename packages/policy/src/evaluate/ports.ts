/** Which protocol a port of a workload is declared to speak: it decides whether rules for HTTP or for TCP are evaluated. */
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
      add(port.number, parseProtocol(port.protocol ?? ''), `${workload.namespace}/${sidecar!.metadata.name}`);
  }
  const only = (sidecar?.spec.ingress?.length ?? 0) > 0;
  for (const { metadata, spec } of view.within('Service', workload.namespace)) {
    if (!spec.selector || Object.keys(spec.selector).length === 0 || !selects(spec.selector, workload.labels)) continue;
    for (const { port, targetPort, name = '', protocol = 'TCP', appProtocol } of spec.ports ?? []) {
      const target = typeof targetPort === 'string' ? workload.portNames.get(targetPort) : targetPort || port;
      if (target === undefined || protocol !== 'TCP') continue;
      const host = `${metadata.name}.${metadata.namespace}.svc.${view.config.clusterDomain}:${port}`;
      const declared = ports.has(target) || !only ? servicePortProtocol(port, name, appProtocol) : 'undeclared';
      add(target, declared, `${metadata.namespace}/${metadata.name}`, host);
    }
  }
  return ports;
}

const HTTP = new Set(['http', 'http2', 'http_proxy', 'grpc', 'grpc-web']);
const TCP = new Set(['tcp', 'https', 'tls', 'mongo', 'redis', 'mysql']);
/** SMTP, DNS, MySQL and MongoDB speak too late, or not first: they are never sniffed. */
const NEVER_SNIFFED = new Set([25, 53, 3306, 27017]);

/** As Istio reads `appProtocol`, or else the beginning of the port's name. */
export function servicePortProtocol(port: number, name: string, appProtocol?: string): PortProtocol {
  if (appProtocol === 'kubernetes.io/h2c' || appProtocol === 'kubernetes.io/ws') return 'http';
  if (appProtocol === 'kubernetes.io/wss') return 'tcp';
  const written = appProtocol ?? name;
  if (/^grpc-web/i.test(written)) return 'http';
  const protocol = parseProtocol(written.split('-')[0]!);
  return protocol === 'undeclared' && NEVER_SNIFFED.has(port) ? 'tcp' : protocol;
}

function parseProtocol(text: string): PortProtocol {
  const lower = text.toLowerCase();
  return HTTP.has(lower) ? 'http' : TCP.has(lower) ? 'tcp' : 'undeclared';
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
