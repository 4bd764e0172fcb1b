/** How policies select workloads: by labels, or by reference. Source: the reference of `WorkloadSelector` and `PolicyTargetReference`. */
import type { Labels } from './object.ts';
import type { Attachment, TargetRef } from './security.ts';

/**
 * The list, or the older single form.
 * @example
 * ```ts
 * import { targetRefs } from '@meshpass/istio';
 * const reference = { kind: 'Gateway', group: 'gateway.networking.k8s.io', name: 'public' };
 * targetRefs({ targetRef: reference }); // => [reference]
 * ```
 */
export function targetRefs(spec: Attachment): readonly TargetRef[] {
  if (spec.targetRefs && spec.targetRefs.length > 0) return spec.targetRefs;
  return spec.targetRef ? [spec.targetRef] : [];
}

/**
 * Whether a policy is one that sidecars may enforce: not one of a Gateway, a waypoint or a Service behind one.
 * @example
 * ```ts
 * import { isForSidecars } from '@meshpass/istio';
 * isForSidecars({ spec: {} }); // => true
 * isForSidecars({ spec: { targetRef: { kind: 'Gateway', name: 'public' } } }); // => false
 * ```
 */
export function isForSidecars({
  spec,
}: {
  readonly spec?: { readonly targetRef?: unknown; readonly targetRefs?: readonly unknown[] | undefined } | undefined;
}): boolean {
  return !spec?.targetRef && !spec?.targetRefs?.length;
}

/**
 * The labels by which a policy selects; undefined for one that means a whole namespace (in the root namespace: the mesh).
 * @example
 * ```ts
 * import { selectorOf } from '@meshpass/istio';
 * selectorOf({ spec: { selector: { matchLabels: { app: 'orders' } } } }); // => { app: 'orders' }
 * selectorOf({ spec: {} }); // => undefined
 * ```
 */
export function selectorOf({
  spec,
}: {
  readonly spec?: { readonly selector?: { readonly matchLabels?: Labels | undefined } | undefined } | undefined;
}): Labels | undefined {
  const labels = spec?.selector?.matchLabels;
  return labels && Object.keys(labels).length > 0 ? labels : undefined;
}

/**
 * Whether every label of the selector is there; an empty selector selects everything.
 * @example
 * ```ts
 * import { selects } from '@meshpass/istio';
 * selects({ app: 'orders' }, { app: 'orders', tier: 'web' }); // => true
 * selects(undefined, { app: 'orders' }); // => true
 * ```
 */
export function selects(selector: Labels | undefined, labels: Labels): boolean {
  for (const label in selector) if (!Object.hasOwn(labels, label) || labels[label] !== selector[label]) return false;
  return true;
}

/**
 * Whether a policy of sidecars selects Pods with these labels, in whatever namespace; one with `targetRefs` selects none.
 * @example
 * ```ts
 * import { selectsPods } from '@meshpass/istio';
 * selectsPods({ spec: { selector: { matchLabels: { app: 'orders' } } } }, { app: 'orders' }); // => true
 * selectsPods({ spec: { targetRef: { kind: 'Service', name: 'orders' } } }, { app: 'orders' }); // => false
 * ```
 */
export function selectsPods(policy: { readonly spec: Attachment }, labels: Labels): boolean {
  return isForSidecars(policy) && selects(selectorOf(policy), labels);
}
