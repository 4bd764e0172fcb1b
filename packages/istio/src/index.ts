/**
 * A model of an Istio mesh. Manifests are loaded as objects with source positions. Workloads, ports and hosts are
 * derived from these objects, and policies are attached to workloads by the same rules as in istiod.
 */
export * from './did-you-mean.ts';
export { decodeText } from './manifest/decode.ts';
export * from './manifest/holds-objects.ts';
export { type LoadedManifests, loadManifests, loadObject, MAX_BYTES, type ManifestProblem } from './manifest/load.ts';
export { type DataPlane, describeAssumption } from './mesh/data-plane.ts';
export { EXPORT_TO, type Exported, exportToOf, isExportedTo } from './mesh/export-to.ts';
export * from './mesh/host.ts';
export * from './mesh/injection.ts';
export * from './mesh/mesh.ts';
export * from './mesh/mesh-config.ts';
export * from './mesh/pod.ts';
export { bypassesZtunnel, type PodProxy, proxyOfPod } from './mesh/pod-proxy.ts';
export * from './mesh/port-protocol.ts';
export { GATEWAY_NAME, type MeshProxy, type ProxyKind, proxyKinds } from './mesh/proxy.ts';
export * from './mesh/trust-domain.ts';
export * from './mesh/view.ts';
export * from './mesh/workload.ts';
export * from './mesh/workload-ports.ts';
export type * from './object/gateway-api.ts';
export type * from './object/kubernetes.ts';
export type * from './object/networking.ts';
export type * from './object/object.ts';
export * from './object/objects.ts';
export * from './object/order.ts';
export type * from './object/resources.ts';
export type * from './object/security.ts';
export {
  isForSidecars,
  selectorOf,
  selects,
  selectsByExpressions,
  selectsPods,
  targetRefs,
} from './object/selection.ts';
export * from './object/unplaced.ts';
export * from './policy/attach.ts';
export * from './policy/authorization-policy.ts';
export * from './policy/destination-rule.ts';
export * from './policy/foreign.ts';
export * from './policy/layers.ts';
export * from './policy/path-template.ts';
export * from './policy/peer-authentication.ts';
export * from './policy/waypoint.ts';
export * from './policy/ztunnel.ts';
