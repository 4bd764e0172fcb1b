/** Plans a change of the access file: what it writes, what it means, and whether it may be applied. */
export type { Finding, FindingKind } from './plan/finding.ts';
export { formatPlan } from './plan/format.ts';
export type { PeopleChange } from './plan/people-changes.ts';
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
export { describeTrustChange, type TrustChange } from './plan/trust-changes.ts';
