/**
 * Model of an Istio mesh: manifests become objects with source positions, objects become workloads, ports and hosts,
 * and policies attach to workloads by istiod's rules.
 */
export { didYouMean, nearest } from './did-you-mean.ts';
export { decodeText } from './manifest/decode.ts';
export { holdsObjects } from './manifest/holds-objects.ts';
export { type LoadedManifests, loadManifests, loadObject, MAX_BYTES, type ManifestProblem } from './manifest/load.ts';
export { bypassesZtunnel } from './mesh/ambient.ts';
export { type DataPlane, describeAssumption } from './mesh/data-plane.ts';
export { EXPORT_TO, type Exported, exportToOf, isExportedTo } from './mesh/export-to.ts';
export { coversHost, fullHost, hostsMeet, serverHost, serviceName } from './mesh/host.ts';
export {
  hasProxy,
  isCaptured,
  type NamespaceInjection,
  namespaceInjection,
  whyNoSidecar,
} from './mesh/injection.ts';
export type * from './mesh/mesh.ts';
export {
  DEFAULT_MESH_CONFIG,
  findMeshConfig,
  type MeshConfig,
  type MeshSettings,
  type PathNormalization,
  readMeshConfig,
  trustedProxiesOf,
} from './mesh/mesh-config.ts';
export {
  anyPod,
  distinctWorkloads,
  hasEnded,
  labelsSelectedBy,
  lastingLabels,
  type PodFacts,
  type PodTemplateOf,
  podTemplates,
  portNamesOf,
  serviceAccountOf,
  standInPorts,
  targetPortOf,
} from './mesh/pod.ts';
export { type PodProxy, proxyOfPod } from './mesh/pod-proxy.ts';
export { isTcp, type PortProtocol, protocolOf } from './mesh/port-protocol.ts';
export { GATEWAY_NAME, type MeshProxy, type ProxyKind, proxyKinds } from './mesh/proxy.ts';
export { meshServiceOf } from './mesh/service.ts';
export {
  expandTrustDomain,
  type TrustDomains,
  trustDomainsOf,
  trustedPeerDomains,
  withAliases,
} from './mesh/trust-domain.ts';
export { type MeshView, viewMesh } from './mesh/view.ts';
export { type PodWorkload, standInFor, toWorkload, type Workload, withoutReplicas } from './mesh/workload.ts';
export { type SpokenProtocol, servicePortProtocols, type WorkloadPort, workloadPorts } from './mesh/workload-ports.ts';
export type * from './object/gateway-api.ts';
export type * from './object/ingress.ts';
export type * from './object/kubernetes.ts';
export type * from './object/networking.ts';
export type * from './object/object.ts';
export { indexObjects, type MeshObjects, ofKind } from './object/objects.ts';
export { applyResources, byName, identityOf, oldestFirst, withCreationTimes } from './object/order.ts';
export type * from './object/place.ts';
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
export { describeUnplaced } from './object/unplaced.ts';
export {
  type AttachedPolicy,
  type AttachedService,
  attaches,
  authorizationPolicies,
  requestAuthentications,
} from './policy/attach.ts';
export {
  actionOf,
  type CustomEffect,
  customEffects,
  DRY_RUN,
  isDryRun,
  providerOf,
} from './policy/authorization-policy.ts';
export {
  type ClientProxy,
  type ClientTlsSetting,
  clientTlsMode,
  type DestinationSettings,
  destinationSettings,
} from './policy/destination-rule.ts';
export { foreignPolicyOf } from './policy/foreign.ts';
export { attachedLayers, type Layers } from './policy/layers.ts';
export { isTemplate, readTemplate, SEGMENT_CHARACTERS, type TemplatePiece } from './policy/path-template.ts';
export {
  type PeerMode,
  type PeerModes,
  peerAuthentications,
  peerModes,
  peerModesOf,
  ztunnelPeerModes,
} from './policy/peer-authentication.ts';
export { SOURCE_FIELDS } from './policy/rule-fields.ts';
export {
  gatewaysUseWaypoint,
  namedWaypoint,
  type ServiceWaypoint,
  serviceWaypoint,
  WAYPOINT_CLASS,
  type Waypoint,
  whyPodWaypoint,
} from './policy/waypoint.ts';
export {
  type UnreadField,
  type ZtunnelField,
  type ZtunnelRule,
  type ZtunnelTest,
  ztunnelRule,
} from './policy/ztunnel.ts';
