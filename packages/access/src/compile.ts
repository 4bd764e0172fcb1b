/**
 * Compiles the access file to Istio objects, and lists the cluster resources that this needs. Does not load the CEL
 * evaluator.
 */
export { describeApproval, describeEmergency, describeEmergencyBounds } from './authorize/describe-approval.ts';
export { describeWho } from './authorize/describe-who.ts';
export { type CompileOptions, compile } from './compile/compile.ts';
export { ATTESTED_CLAIMS, claimsDemanded } from './compile/http-rules.ts';
export { loopbackAddresses } from './compile/loopback.ts';
export { clusterRoleOf, isOurs, type MeshShape, meshOf, settingsOf } from './compile/mesh-of.ts';
export { GRANT_LABEL, MANAGED_BY, MANAGED_BY_LABEL, sourceOf } from './compile/metadata.ts';
export {
  type GrantedPort,
  grantedPorts,
  kubernetesGrants,
  namespacesGranted,
  reachableServices,
} from './compile/reach.ts';
export { CLAIM_HEADERS } from './compile/request-authentication.ts';
export {
  checkMesh,
  leftOut,
  type Resolved,
  type ResolvedGrant,
  type ResolvedTarget,
  resolveAccess,
} from './compile/resolve.ts';
export type { ResolvedRole } from './compile/roles/resolve-roles.ts';
export { checkKnownRoles, knownRoles, powersOf, type RolePowers } from './compile/roles/role-powers.ts';
export { connectionsTo, namesOfHost, namesOfPort } from './compile/server-names.ts';
export type * from './model.ts';
export { KUBERNETES_POWERS, OPERATOR_ROLES } from './model.ts';
export { type AccessFileProblem, formatPlace } from './problem.ts';
export { formatOperation, matchesGlob } from './schema/pattern.ts';
export { isSelection, selectedNamespaces } from './schema/selection.ts';
