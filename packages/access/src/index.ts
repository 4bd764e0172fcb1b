/** The access file: loading it, authorizing sessions against it, and compiling it to Istio objects. */
export { approverEntry, authorize, isPerson } from './authorize/authorize.ts';
export { type OperatorRoles, operatorRoles, serviceAccountRoles } from './authorize/operators.ts';
export { claimsRequired } from './authorize/required-claims.ts';
export { isSignInTrusted, operatorClientOf, whyUntrusted } from './authorize/trusted.ts';
export { openUntil } from './authorize/windows.ts';
export { formatManifests } from './compile/format.ts';
export * from './compile.ts';
export { allowCall, type CallToAllow } from './edit/allow-call.ts';
export { type Bounds, checkBounds } from './load/check-bounds.ts';
export { type LoadedAccess, loadAccess } from './load/load-access.ts';
export {
  type ParseOptions,
  parseAccess,
  type ReadIncluded,
  rolesMentioned,
  teamsDenied,
  teamsMentioned,
} from './load/parse.ts';
export { readYaml } from './load/read-yaml.ts';
export { accessJsonSchema, includedJsonSchema } from './schema/json-schema.ts';
