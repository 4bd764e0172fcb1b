/**
 * Compiles an access file to Istio objects, and lists the cluster resources that this requires. Importing this module
 * does not load the CEL evaluator.
 */
export {
  describeApproval,
  describeEmergency,
  describeEmergencyBounds,
  describeWho,
} from './authorize/describe-who.ts';
export { CLAIM_HEADERS, type CompileOptions, compile } from './compile/compile.ts';
export { ATTESTED_CLAIMS, claimsDemanded } from './compile/http-rules.ts';
export { clusterRoleOf, isOurs, type MeshShape, meshOf, settingsOf } from './compile/mesh-of.ts';
export { GRANT_LABEL, MANAGED_BY, MANAGED_BY_LABEL, sourceOf } from './compile/metadata.ts';
export {
  type GrantedPort,
  grantedPorts,
  kubernetesGrants,
  loopbackAddresses,
  namespacesGranted,
  reachableServices,
} from './compile/reach.ts';
export {
  checkMesh,
  leftOut,
  type Resolved,
  type ResolvedGrant,
  type ResolvedTarget,
  resolveAccess,
} from './compile/resolve.ts';
export { checkKnownRoles, knownRoles, powersOf, type ResolvedRole, type RolePowers } from './compile/roles.ts';
export { connectionsTo, namesOfHost, namesOfPort } from './compile/server-names.ts';
export type * from './model.ts';
export { KUBERNETES_POWERS, OPERATOR_ROLES } from './model.ts';
export { type AccessFileProblem, formatPlace } from './problem.ts';
export { formatOperation, matchesGlob } from './schema/pattern.ts';
export { isSelection, selectedNamespaces } from './schema/selection.ts';
