/** The access file: read it, decide by it, compile it. */
export { authorize } from './authorize.ts';
export { checkMesh, leftOut } from './check-mesh.ts';
export { ATTESTED_CLAIMS } from './compile/http-rules.ts';
export { GRANT_LABEL, MANAGED_BY, MANAGED_BY_LABEL, SOURCE_ANNOTATION } from './compile/metadata.ts';
export { CLAIM_HEADERS } from './compile/request-authentication.ts';
export { type CompileOptions, compile } from './compile.ts';
export { formatManifests } from './format.ts';
export type { ReadIncluded } from './include.ts';
export { accessJsonSchema, includedJsonSchema } from './json-schema.ts';
export { type LoadedAccess, loadAccess } from './load-access.ts';
export type * from './model.ts';
export { type ParseOptions, parseAccess, rolesMentioned, teamsDenied, teamsMentioned } from './parse.ts';
export { type AccessFileProblem, formatPlace } from './problem.ts';
export { namespacesGranted, reachableServices } from './reach.ts';
export { claimsRequired } from './required-claims.ts';
