/**
 * Evaluates PeerAuthentications, which determine the peers that must use mutual TLS. The mode in the narrowest scope
 * takes precedence, and within a scope, the oldest policy does. Sources: `ComposePeerAuthentication` in
 * pilot/pkg/security/authn/policy_applier.go of Istio 1.31, and for ztunnels
 * pilot/pkg/serviceregistry/ambient/authorization.go.
 */

import type { MeshProxy } from '../mesh/proxy.ts';
import type { MeshView } from '../mesh/view.ts';
import type { Labels } from '../object/object.ts';
import type { MutualTlsMode, PeerAuthentication } from '../object/security.ts';
import { selectorOf, selects } from '../object/selection.ts';

export interface PeerMode {
  readonly mode: 'DISABLE' | 'PERMISSIVE' | 'STRICT';
  /** The policy that sets the mode. Absent if the mode is Istio's default. */
  readonly policy?: PeerAuthentication;
}

export interface PeerModes {
  /** The mode of all ports that are not listed in `ports`. */
  readonly general: PeerMode;
  readonly ports: ReadonlyMap<number, PeerMode>;
}

/** The modes of gateways and waypoints, which ignore PeerAuthentications. Their listeners define their own TLS mode. */
const PERMISSIVE: PeerModes = { general: { mode: 'PERMISSIVE' }, ports: new Map() };

/**
 * Determines the mutual TLS modes of a proxy. A policy with a selector applies to workloads in its own namespace,
 * unless that is the root namespace: there, it applies to no workloads. If the mode is absent or `UNSET`, a workload
 * inherits the mode of its namespace, a namespace inherits that of the mesh, and a port inherits that of its workload.
 * Modes of ports are only read from the policy of the workload itself.
 * @param policies the policies, oldest first. Those in other namespaces are ignored
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
  const { mesh, namespace, own } = scopes(policies, proxy, rootNamespace);
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

/** Returns the oldest policy in each scope. */
function scopes(
  policies: readonly PeerAuthentication[],
  proxy: Pick<MeshProxy, 'namespace' | 'labels'>,
  rootNamespace: string,
) {
  const oldest = (place: string, isMeant: (selector: Labels | undefined) => boolean) =>
    policies.find((one) => one.metadata.namespace === place && isMeant(selectorOf(one)));
  const mesh = oldest(rootNamespace, (selector) => !selector);
  if (proxy.namespace === rootNamespace) return { mesh, namespace: undefined, own: undefined };
  return {
    mesh,
    namespace: oldest(proxy.namespace, (selector) => !selector),
    own: oldest(proxy.namespace, (selector) => selector !== undefined && selects(selector, proxy.labels)),
  };
}

/**
 * Determines the mutual TLS modes at a workload's ztunnel. `DISABLE` means `PERMISSIVE` there, because a ztunnel always
 * accepts HBONE. istiod converts the modes of ports to a DENY policy, which is incomplete in three cases. If the mesh
 * is `STRICT`, a workload that sets `PERMISSIVE` or `DISABLE` loses the `STRICT` mode of a port. A workload without a
 * mode loses the mesh's `STRICT` mode if a port is `PERMISSIVE` and there is a namespace policy without a mode.
 * `DISABLE` on a port has no effect in a `STRICT` workload without a mode of its own, unless another port is
 * `PERMISSIVE`.
 * @param policies the policies, as for `peerModes`
 * @example
 * ```ts
 * import { loadManifests, ofKind, ztunnelPeerModes } from '@meshpass/istio';
 * const strict = `{apiVersion: security.istio.io/v1, kind: PeerAuthentication, metadata: {name: default, namespace: istio-system},
 *   spec: {mtls: {mode: DISABLE}}}`;
 * const policies = ofKind(loadManifests(strict, 'strict.yaml').resources, 'PeerAuthentication');
 * ztunnelPeerModes(policies, { namespace: 'shop', labels: { app: 'orders' } }, 'istio-system').general.mode; // => 'PERMISSIVE'
 * ```
 */
export function ztunnelPeerModes(
  policies: readonly PeerAuthentication[],
  workload: Pick<MeshProxy, 'namespace' | 'labels'>,
  rootNamespace: string,
): PeerModes {
  const { general, ports } = peerModes(policies, { ...workload, kind: 'sidecar' }, rootNamespace);
  const found = scopes(policies, workload, rootNamespace);
  const modes = [...(Object.entries(found.own?.spec.portLevelMtls ?? {}) as [string, { mode?: MutualTlsMode }][])];
  const withMode = (...some: readonly PeerMode['mode'][]) =>
    modes.flatMap(([port, mtls]) => (some.includes(modeSet(mtls.mode)!) ? [Number(port)] : []));
  const open: PeerMode = { ...general, mode: 'PERMISSIVE' };
  if (ports.size === 0) return { general: general.mode === 'STRICT' ? general : open, ports };
  const strict: PeerMode = { ...general, mode: 'STRICT', ...(found.own && { policy: found.own }) };
  const ownMode = modeSet(found.own?.spec.mtls?.mode);
  if (general.mode === 'STRICT') {
    const exempt = withMode('PERMISSIVE', 'DISABLE');
    const isSeen = ownMode === 'STRICT' ? exempt.length > 0 : withMode('PERMISSIVE').length > 0;
    if (!isSeen) return { general, ports: new Map() };
    const isLost = ownMode === undefined && found.namespace && modeSet(found.namespace.spec.mtls?.mode) !== 'STRICT';
    if (isLost) return { general: open, ports: new Map() };
    return { general, ports: new Map(exempt.map((port) => [port, { ...open, policy: found.own! }])) };
  }
  const isLost =
    ownMode !== undefined &&
    modeSet(found.namespace?.spec.mtls?.mode) === undefined &&
    modeSet(found.mesh?.spec.mtls?.mode) === 'STRICT';
  return { general: open, ports: new Map(isLost ? [] : withMode('STRICT').map((port) => [port, strict])) };
}

/**
 * Determines the mutual TLS modes of a proxy from the PeerAuthentications in a mesh.
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
  return peerModes(peerAuthentications(view, proxy), proxy, view.config.rootNamespace);
}

/**
 * Lists the PeerAuthentications in the namespaces that can affect a proxy's modes.
 * @example
 * ```ts
 * import { loadManifests, peerAuthentications, viewMesh } from '@meshpass/istio';
 * const strict = `{apiVersion: security.istio.io/v1, kind: PeerAuthentication, metadata: {name: default, namespace: istio-system},
 *   spec: {mtls: {mode: STRICT}}}`;
 * const view = viewMesh(loadManifests(strict, 'strict.yaml').resources);
 * peerAuthentications(view, { namespace: 'shop' }).length; // => 1
 * ```
 */
export function peerAuthentications(
  view: MeshView,
  { namespace }: Pick<MeshProxy, 'namespace'>,
): readonly PeerAuthentication[] {
  return [...new Set([view.config.rootNamespace, namespace])].flatMap((one) => view.within('PeerAuthentication', one));
}

function modeSet(mode: MutualTlsMode | undefined): PeerMode['mode'] | undefined {
  return mode === undefined || mode === 'UNSET' ? undefined : mode;
}
