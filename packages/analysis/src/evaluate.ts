/** Decides whether a single call is allowed, as the workload's proxy would, and identifies the rule that decided it. */
export { type Authorizer, createAuthorizer } from './evaluate/authorizer.ts';
export type * from './evaluate/call.ts';
export { type Caller, callOf, parseCaller } from './evaluate/caller.ts';
export { type Answer, type CanI, canI } from './evaluate/can-i.ts';
export { whyNotGrantable } from './evaluate/grantable.ts';
export { applyAccess, type GrantedMesh, type GrantReach, grantsThatCan } from './evaluate/grants-that-can.ts';
export { type Cell, type Matrix, matrixOf } from './evaluate/matrix.ts';
export { normalizePath, templateTest } from './evaluate/rule/path.ts';
export { assumedNamespaces, type Endpoint, findEndpoints } from './evaluate/target.ts';
export {
  combineVerdicts,
  describeDecision,
  describeRule,
  type Evaluation,
  evaluate,
  type Verdict,
} from './evaluate/verdict.ts';
export { type Reacher, type WhoCan, whoCan } from './evaluate/who-can.ts';
export type { OutsideAnswer } from './outside/call/answer.ts';
export { canIOutside, type OutsideAnswers } from './outside/call/decide.ts';
export type { ClientCertificate, OutsideRequest } from './outside/call/request.ts';
