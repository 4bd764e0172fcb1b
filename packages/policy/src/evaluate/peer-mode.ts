/** PeerAuthentication: who must come by mutual TLS. The narrowest scope decides, and in it the oldest policy. */
import type { MutualTlsMode, PeerAuthentication } from '../istio/security.ts';
import type { MeshView } from './mesh-view.ts';
import { selects, type Workload } from './workload.ts';

export interface PeerMode {
  readonly mode: 'DISABLE' | 'PERMISSIVE' | 'STRICT';
  /** Absent: Istio's own default. */
  readonly policy?: PeerAuthentication;
}

/** By port of the workload. Gateways and waypoints are not subject to it: their listeners say what they want. */
export function peerModes(view: MeshView, workload: Workload): (port: number) => PeerMode {
  if (workload.kind !== 'sidecar') return () => ({ mode: 'PERMISSIVE' });
  const root = view.config.rootNamespace;
  const mine = [...new Set([workload.namespace, root])].flatMap((namespace) =>
    view
      .within('PeerAuthentication', namespace)
      .filter(({ spec }) => selects(spec.selector?.matchLabels, workload.labels)),
  );
  const isWide = ({ spec }: PeerAuthentication) => Object.keys(spec.selector?.matchLabels ?? {}).length === 0;
  const mesh = mine.find((policy) => isWide(policy) && policy.metadata.namespace === root);
  const namespace = mine.find((policy) => isWide(policy) && policy.metadata.namespace !== root);
  const own = mine.find((policy) => !isWide(policy) && policy.metadata.namespace !== root);

  let general: PeerMode = { mode: 'PERMISSIVE' };
  for (const policy of [mesh, namespace, own]) {
    const mode = set(policy?.spec.mtls?.mode);
    if (mode && policy) general = { mode, policy };
  }
  const ports = new Map<number, PeerMode>();
  for (const [port, mtls] of Object.entries(own?.spec.portLevelMtls ?? {})) {
    const mode = set(mtls.mode);
    ports.set(Number(port), mode ? { mode, policy: own! } : general);
  }
  return (port) => ports.get(port) ?? general;
}

function set(mode: MutualTlsMode | undefined): PeerMode['mode'] | undefined {
  return mode === undefined || mode === 'UNSET' ? undefined : mode;
}
