/** Whether workloads take connections without a certificate, as PeerAuthentications say. Source: PeerAuthentication reference. */

import { type MeshView, type MutualTlsMode, type PeerAuthentication, peerModesOf } from '@meshpass/istio';
import type { LintContext } from './context.ts';

/**
 * Says which PeerAuthentication lets plain text in; undefined where none of the files does. Istio's default (no
 * PeerAuthentication at all) is PERMISSIVE too; that is only said of a mesh that is known whole.
 * @param wanted labels of the workloads that are asked about; empty: all of the namespace
 */
export function plainTextPort(
  context: LintContext,
  namespace: string,
  wanted: Readonly<Record<string, string>>,
  isMeant: (pod: Readonly<Record<string, string>>) => boolean,
): string | undefined {
  const pods = context.mesh.podsIn(namespace).filter((pod) => isMeant(pod.labels));
  for (const given of pods.length > 0 ? pods.map((pod) => pod.labels) : [wanted]) {
    const { mode, by, open } = modeOf(context.mesh, namespace, given);
    if (mode === 'PERMISSIVE' || mode === 'DISABLE') {
      if (by) return `PeerAuthentication ${by.metadata.namespace}/${by.metadata.name} sets ${mode}`;
      if (context.complete) return "no PeerAuthentication says STRICT, and Istio's default is PERMISSIVE";
    }
    if (open)
      return `PeerAuthentication ${open.by.metadata.namespace}/${open.by.metadata.name} sets ${open.mode} for port ${open.port}`;
  }
  return undefined;
}

/** What a workload asks of its peers, as istiod composes it, with the policy that says so and a port that is open all the same. */
export function modeOf(
  mesh: MeshView,
  namespace: string,
  pod: Readonly<Record<string, string>>,
): {
  readonly mode: MutualTlsMode;
  readonly by: PeerAuthentication | undefined;
  readonly open: { readonly port: number; readonly mode: MutualTlsMode; readonly by: PeerAuthentication } | undefined;
} {
  const { general, ports } = peerModesOf(mesh, { namespace, labels: pod, kind: 'sidecar' });
  const [open] = [...ports].flatMap(([port, { mode, policy }]) =>
    mode !== 'STRICT' && policy && policy !== general.policy ? [{ port, mode, by: policy }] : [],
  );
  const own = [...ports].flatMap(([port, { mode, policy }]) =>
    mode !== 'STRICT' && general.mode === 'STRICT' && policy ? [{ port, mode, by: policy }] : [],
  )[0];
  return { mode: general.mode, by: general.policy, open: own ?? open };
}
