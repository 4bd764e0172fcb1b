/** How policies select workloads: by labels, or by reference. Source: the reference of `WorkloadSelector` and `PolicyTargetReference`. */
import type { Labels } from './object.ts';
import type { Attachment, TargetRef } from './security.ts';

/** The list, or the older single form. */
export function targetRefs(spec: Attachment): readonly TargetRef[] {
  if (spec.targetRefs && spec.targetRefs.length > 0) return spec.targetRefs;
  return spec.targetRef ? [spec.targetRef] : [];
}

/** Whether a policy is one that sidecars may enforce: not one of a Gateway, a waypoint or a Service behind one. */
export function isForSidecars({
  spec,
}: {
  readonly spec?: { readonly targetRef?: unknown; readonly targetRefs?: readonly unknown[] | undefined } | undefined;
}): boolean {
  return !spec?.targetRef && !spec?.targetRefs?.length;
}

/** The labels by which a policy selects; undefined for one that means a whole namespace (in the root namespace: the mesh). */
export function selectorOf({
  spec,
}: {
  readonly spec?: { readonly selector?: { readonly matchLabels?: Labels | undefined } | undefined } | undefined;
}): Labels | undefined {
  const labels = spec?.selector?.matchLabels;
  return labels && Object.keys(labels).length > 0 ? labels : undefined;
}

/** Whether every label of the selector is there; an empty selector selects everything. */
export function selects(selector: Labels | undefined, labels: Labels): boolean {
  for (const label in selector) if (!Object.hasOwn(labels, label) || labels[label] !== selector[label]) return false;
  return true;
}

/** Whether a policy of sidecars selects Pods with these labels, in whatever namespace; one with `targetRefs` selects none. */
export function selectsPods(policy: { readonly spec: Attachment }, labels: Labels): boolean {
  return isForSidecars(policy) && selects(selectorOf(policy), labels);
}
