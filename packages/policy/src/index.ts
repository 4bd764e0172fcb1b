/** The access file: read it, decide by it, compile it. */
export { authorize } from './authorize.ts';
export { checkMesh } from './check-mesh.ts';
export { GRANT_LABEL, MANAGED_BY, MANAGED_BY_LABEL, SOURCE_ANNOTATION } from './compile/metadata.ts';
export { CLAIM_HEADERS } from './compile/request-authentication.ts';
export { type CompileOptions, compile } from './compile.ts';
export { formatManifests } from './format.ts';
export type * from './model.ts';
export { type ParseOptions, parseAccess, teamsMentioned } from './parse.ts';
export type { AccessFileProblem } from './problem.ts';
export { reachableServices } from './reach.ts';
