/**
 * Selects workloads by label or by reference. Source: the reference of `WorkloadSelector` and `PolicyTargetReference`.
 */
import type { LabelSelector } from './gateway-api.ts';
import { items, texts } from './members.ts';
import type { KubeObject, Labels } from './object.ts';
import { identityOf } from './order.ts';
import type { Resource } from './resources.ts';
import type { Attachment, TargetRef } from './security.ts';

interface Targeting {
  readonly targetRef?: unknown;
  readonly targetRefs?: readonly unknown[];
}

/** The label that restricts an object to istiods of one revision. Source: `LabelsInRevision` in pkg/config/model.go. */
export const REVISION_LABEL = 'istio.io/rev';

/** Explains that only some istiods enforce a policy. Returns undefined if all of them do. */
export function whyRestricted(policy: Pick<KubeObject, 'kind' | 'metadata'>): string | undefined {
  const revision = policy.metadata.labels?.[REVISION_LABEL];
  return revision === undefined ? undefined : `only istiods of revision ${revision} enforce ${identityOf(policy)}`;
}

/**
 * Returns `targetRefs`, or the older `targetRef` as a list with one element.
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
 * Whether sidecars may enforce a policy. They do not enforce policies that target a Gateway, a waypoint, or a Service
 * behind a waypoint.
 * @example
 * ```ts
 * import { isForSidecars } from '@meshpass/istio';
 * isForSidecars({ spec: {} }); // => true
 * isForSidecars({ spec: { targetRef: { kind: 'Gateway', name: 'public' } } }); // => false
 * ```
 */
export function isForSidecars({ spec }: { readonly spec?: Targeting }): boolean {
  return !spec?.targetRef && !spec?.targetRefs?.length;
}

/**
 * Returns the labels that a policy uses to select workloads. Returns undefined if it applies to its whole namespace or,
 * in the root namespace, to the whole mesh.
 * @example
 * ```ts
 * import { selectorOf } from '@meshpass/istio';
 * selectorOf({ spec: { selector: { matchLabels: { app: 'orders' } } } }); // => { app: 'orders' }
 * selectorOf({ spec: {} }); // => undefined
 * ```
 */
export function selectorOf({ spec }: { readonly spec?: Pick<Attachment, 'selector'> }): Labels | undefined {
  const labels = spec?.selector?.matchLabels;
  return labels && Object.keys(labels).length > 0 ? labels : undefined;
}

/**
 * Whether a set of labels contains every label of a selector. An empty selector matches everything.
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
 * Whether a sidecar policy selects the Pods in its namespace that have these labels. A policy with `targetRefs` does
 * not select any Pods.
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

/** Whether a selector matches labels. As in a Service, an empty selector does not match any Pods. */
export function selectsSome(selector: Labels | undefined, labels: Labels): boolean {
  return Object.keys(selector ?? {}).length > 0 && selects(selector, labels);
}

/**
 * Whether a Kubernetes label selector matches labels. An empty selector matches everything, and an unknown operator
 * matches nothing. Source: `LabelSelector` in the Kubernetes API reference.
 * @example
 * ```ts
 * import { selectsByExpressions } from '@meshpass/istio';
 * const selector = { matchExpressions: [{ key: 'env', operator: 'NotIn', values: ['prod'] }] };
 * selectsByExpressions(selector, { env: 'dev' }); // => true
 * selectsByExpressions(selector, { env: 'prod' }); // => false
 * ```
 */
export function selectsByExpressions(selector: LabelSelector | undefined, labels: Labels): boolean {
  if (!selects(selector?.matchLabels, labels)) return false;
  return items(selector?.matchExpressions).every(({ key = '', operator, values }) => {
    const has = Object.hasOwn(labels, key);
    const listed = has && texts(values).includes(labels[key]!);
    if (operator === 'In') return listed;
    if (operator === 'NotIn') return !listed;
    return operator === 'Exists' ? has : operator === 'DoesNotExist' && !has;
  });
}

/** Returns the labels that an object uses to select Pods, or undefined if it does not select Pods by label. */
export function podSelector({ kind, ...resource }: Resource): Labels | undefined {
  const { selector, workloadSelector } = ('spec' in resource ? (resource.spec ?? {}) : {}) as {
    readonly selector?: Labels | { readonly matchLabels?: Labels };
    readonly workloadSelector?: { readonly labels?: Labels };
  };
  if (kind === 'Service' || kind === 'Gateway') return selector as Labels | undefined;
  return workloadSelector?.labels ?? (selector as { readonly matchLabels?: Labels } | undefined)?.matchLabels;
}
