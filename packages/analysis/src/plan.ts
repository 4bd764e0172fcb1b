/**
 * Plans a change to the access file: the resulting resources, how they affect access, and whether the change may be
 * applied.
 */
export { type AccessChange, accessChanges, NO_ACCESS } from './plan/access-changes.ts';
export type { Finding, FindingKind } from './plan/finding.ts';
export { formatPlan } from './plan/format.ts';
export {
  type Acceptance,
  isUnknown,
  type Plan,
  type PlanInput,
  planChange,
  refusals,
  refuseUnsafe,
} from './plan/plan.ts';
export type { ReachChange } from './plan/reach-changes.ts';
export { manifestsToWrite, type ResourceChange, resourceChanges } from './plan/resource-changes.ts';
