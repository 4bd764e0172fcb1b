/**
 * PeerAuthentication: which peers must use mutual TLS. The narrowest scope that sets a mode decides. Within a scope,
 * the oldest policy decides. Source: `ComposePeerAuthentication` in pilot/pkg/security/authn/policy_applier.go of Istio
 * 1.31.
 */

import type { MeshProxy } from '../mesh/proxy.ts';
import type { MeshView } from '../mesh/view.ts';
import type { Labels } from '../object/object.ts';
import type { MutualTlsMode, PeerAuthentication } from '../object/security.ts';
import { selectorOf, selects } from '../object/selection.ts';

export interface PeerMode {
  readonly mode: 'DISABLE' | 'PERMISSIVE' | 'STRICT';
  /** Absent if it is Istio's own default. */
  readonly policy?: PeerAuthentication;
}

export interface PeerModes {
  /** Mode of all ports that are not in `ports`. */
  readonly general: PeerMode;
  readonly ports: ReadonlyMap<number, PeerMode>;
}

/** Gateways and waypoints ignore PeerAuthentications. Their listeners set their own mode. */
const PERMISSIVE: PeerModes = { general: { mode: 'PERMISSIVE' }, ports: new Map() };

/**
 * Determines the mutual TLS modes of a proxy. A policy with a selector applies to workloads of its own namespace, and
 * to none if it is in the root namespace. Without a mode, or with `UNSET`, a workload inherits from its namespace, a
 * namespace from the mesh, and a port from its workload. Port modes come only from the workload's own policy.
 * @param policies oldest first; those of other namespaces are ignored
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
  const oldest = (place: string, isMeant: (selector: Labels | undefined) => boolean) =>
    policies.find((one) => one.metadata.namespace === place && isMeant(selectorOf(one)));
  const mesh = oldest(rootNamespace, (selector) => !selector);
  const isRoot = proxy.namespace === rootNamespace;
  const namespace = isRoot ? undefined : oldest(proxy.namespace, (selector) => !selector);
  const own = isRoot
    ? undefined
    : oldest(proxy.namespace, (selector) => selector !== undefined && selects(selector, proxy.labels));
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
 * Determines the mutual TLS modes of a proxy from the PeerAuthentications of its mesh.
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
