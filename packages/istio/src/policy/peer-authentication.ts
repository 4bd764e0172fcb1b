/**
 * PeerAuthentication: which peers must use mutual TLS. The narrowest scope that sets a mode decides; within a scope, the oldest policy.
 * Source: `ComposePeerAuthentication` in pilot/pkg/security/authn/policy_applier.go of Istio 1.31.
 */

import type { MeshProxy } from '../mesh/proxy.ts';
import type { MeshView } from '../mesh/view.ts';
import type { MutualTlsMode, PeerAuthentication } from '../object/security.ts';
import { selectorOf, selects } from '../object/selection.ts';

export interface PeerMode {
  readonly mode: 'DISABLE' | 'PERMISSIVE' | 'STRICT';
  /** Absent: Istio's own default. */
  readonly policy?: PeerAuthentication;
}

export interface PeerModes {
  /** Of every port that is not among `ports`. */
  readonly general: PeerMode;
  readonly ports: ReadonlyMap<number, PeerMode>;
}

/** Gateways and waypoints are not subject to it: their listeners say what they want. */
const PERMISSIVE: PeerModes = { general: { mode: 'PERMISSIVE' }, ports: new Map() };

/**
 * What a proxy asks of its peers. A policy with a selector counts for workloads of its own namespace, and in the root namespace for
 * none, not even there. `UNSET`, or no mode, inherits: the workload from its namespace, that from the mesh, and a port from its
 * workload. Ports are those of the workload's own policy alone.
 * @param policies the oldest first; those of other namespaces are left alone
 * @example
 * ```ts
 * import { loadManifests, ofKind, peerModes } from '@meshpass/istio';
 * const strict = `{apiVersion: security.istio.io/v1, kind: PeerAuthentication, metadata: {name: default, namespace: istio-system},
 *   spec: {mtls: {mode: STRICT}}}`;
 * const policies = ofKind(loadManifests(strict, 'strict.yaml').resources, 'PeerAuthentication');
 * peerModes(policies, { namespace: 'shop', labels: { app: 'orders' }, kind: 'sidecar' as const }, 'istio-system').general.mode; // => 'STRICT'
 * ```
 */
export function peerModes(policies: readonly PeerAuthentication[], proxy: MeshProxy, rootNamespace: string): PeerModes {
  if (proxy.kind !== 'sidecar') return PERMISSIVE;
  let mesh: PeerAuthentication | undefined;
  let namespace: PeerAuthentication | undefined;
  let own: PeerAuthentication | undefined;
  for (const policy of policies) {
    const selector = selectorOf(policy);
    if (policy.metadata.namespace === rootNamespace) {
      if (!selector) mesh ??= policy;
    } else if (policy.metadata.namespace === proxy.namespace) {
      if (!selector) namespace ??= policy;
      else if (!own && selects(selector, proxy.labels)) own = policy;
    }
  }
  let general = PERMISSIVE.general;
  for (const policy of [mesh, namespace, own]) {
    const mode = modeSet(policy?.spec.mtls?.mode);
    if (mode && policy) general = { mode, policy };
  }
  const ports = new Map<number, PeerMode>();
  for (const [port, mtls] of Object.entries(own?.spec.portLevelMtls ?? {})) {
    const mode = modeSet(mtls.mode);
    ports.set(Number(port), mode ? { mode, policy: own! } : general);
  }
  return { general, ports };
}

/**
 * What a proxy asks of its peers, by the PeerAuthentications of its mesh.
 * @example
 * ```ts
 * import { loadManifests, peerModesOf, viewMesh } from '@meshpass/istio';
 * const pod = `{apiVersion: v1, kind: Pod, metadata: {name: orders-1, namespace: shop, labels: {app: orders, pod-template-hash: 5f}},
 *   spec: {serviceAccountName: orders, containers: [{name: app, ports: [{name: web, containerPort: 8080}]}]}}`;
 * const { resources } = loadManifests(`${pod}`, 'mesh.yaml');
 * const view = viewMesh(resources);
 * peerModesOf(view, view.workloads[0]!).general.mode; // => 'PERMISSIVE'
 * ```
 */
export function peerModesOf(view: MeshView, proxy: MeshProxy): PeerModes {
  const { rootNamespace } = view.config;
  const policies = [...new Set([rootNamespace, proxy.namespace])].flatMap((one) =>
    view.within('PeerAuthentication', one),
  );
  return peerModes(policies, proxy, rootNamespace);
}

function modeSet(mode: MutualTlsMode | undefined): PeerMode['mode'] | undefined {
  return mode === undefined || mode === 'UNSET' ? undefined : mode;
}
