/** Whether workloads take connections without a certificate, as PeerAuthentications say. Source: PeerAuthentication reference. */
import type { MutualTlsMode, PeerAuthentication } from '../istio/security.ts';
import { hasLabels, labels, record } from './read.ts';
import type { MeshView } from './view.ts';

/**
 * Says which PeerAuthentication lets plain text in; undefined where none of the files does. Istio's default (no
 * PeerAuthentication at all) is PERMISSIVE too; that is only said of a mesh that is known whole.
 * @param wanted labels of the workloads that are asked about; empty: all of the namespace
 */
export function plainTextPort(
  view: MeshView,
  namespace: string,
  wanted: Readonly<Record<string, string>>,
  isMeant: (pod: Readonly<Record<string, string>>) => boolean,
): string | undefined {
  const pods = view.workloadsIn(namespace).filter((pod) => isMeant(pod.labels));
  for (const given of pods.length > 0 ? pods.map((pod) => pod.labels) : [wanted]) {
    const { mode, by } = modeOf(view, namespace, given);
    if (mode === 'PERMISSIVE' || mode === 'DISABLE') {
      if (by) return `PeerAuthentication ${by.metadata.namespace}/${by.metadata.name} sets ${mode}`;
      if (view.complete) return "no PeerAuthentication says STRICT, and Istio's default is PERMISSIVE";
    }
    const open =
      by &&
      Object.entries(record<{ mode?: string }>(by.spec.portLevelMtls)).find(
        ([, port]) => port.mode === 'PERMISSIVE' || port.mode === 'DISABLE',
      );
    if (open)
      return `PeerAuthentication ${by.metadata.namespace}/${by.metadata.name} sets ${open[1].mode} for port ${open[0]}`;
  }
  return undefined;
}

/** The workload's own PeerAuthentication, else its namespace's, else the mesh's; `UNSET` inherits. */
export function modeOf(
  view: MeshView,
  namespace: string,
  pod: Readonly<Record<string, string>>,
): { readonly mode: MutualTlsMode; readonly by: PeerAuthentication | undefined } {
  const own = view.peerAuthenticationsIn(namespace);
  const selectorOf = (one: PeerAuthentication) => labels(record(one.spec.selector).matchLabels);
  const bare = (one: PeerAuthentication) => Object.keys(selectorOf(one)).length === 0;
  const candidates = [
    own.find((one) => !bare(one) && hasLabels(selectorOf(one), pod)),
    own.find(bare),
    view.peerAuthenticationsIn(view.rootNamespace).find(bare),
  ];
  const by = candidates.find((one) => one && (one.spec.mtls?.mode ?? 'UNSET') !== 'UNSET');
  // Ports count with the most specific one, whatever its own mode inherits.
  const ports = candidates[0]?.spec.portLevelMtls ? candidates[0] : by;
  return { mode: by?.spec.mtls?.mode ?? 'PERMISSIVE', by: by ?? ports };
}
