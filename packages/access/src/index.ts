/** The access file: read it, decide by it, compile it. */
export { authorize } from './authorize/authorize.ts';
export { claimsRequired } from './authorize/required-claims.ts';
export { checkMesh, leftOut } from './compile/check-mesh.ts';
export { type CompileOptions, compile } from './compile/compile.ts';
export { formatManifests } from './compile/format.ts';
export { ATTESTED_CLAIMS } from './compile/http-rules.ts';
export { GRANT_LABEL, MANAGED_BY, MANAGED_BY_LABEL, SOURCE_ANNOTATION } from './compile/metadata.ts';
export { namespacesGranted, reachableServices } from './compile/reach.ts';
export { CLAIM_HEADERS } from './compile/request-authentication.ts';
export type { ReadIncluded } from './load/include.ts';
export { type LoadedAccess, loadAccess } from './load/load-access.ts';
export { type ParseOptions, parseAccess, rolesMentioned, teamsDenied, teamsMentioned } from './load/parse.ts';
export type * from './model.ts';
export { type AccessFileProblem, formatPlace } from './problem.ts';
export { accessJsonSchema, includedJsonSchema } from './schema/json-schema.ts';
