/** The state of the cluster that a plan is made for. */
import { isOurs } from '@meshpass/access/compile';
import { sha256Hex } from '@meshpass/identity/hash';
import { hasProxy, type PodSpec, portNamesOf, type Resource, serviceAccountOf } from '@meshpass/istio';
import { canonicalJson } from '../canonical-json.ts';

/** Objects that exist for sessions and not for the access file. */
const COMPONENT = 'app.kubernetes.io/component';

/**
 * What a plan depends on, whatever the order in which the cluster lists it. Not VirtualServices: a plan only has notes about them, and
 * rollouts write them all the time.
 */
export function stateOf(cluster: readonly Resource[]): string {
  const parts = cluster
    .filter((one) => !isRevocation(one) && one.kind !== 'VirtualService')
    .map((one) => {
      const { kind, metadata } = one;
      const { spec, roleRef, subjects, data } = one as unknown as Record<string, unknown>;
      const { namespace, name, labels, annotations } = metadata;
      const kept = kind === 'Pod' ? ofPod(spec as PodSpec) : spec;
      // Replicas of one workload are one: a rollout makes no plan stale.
      const { 'pod-template-hash': _, ...stable } = labels ?? {};
      const own = Object.entries(annotations ?? {}).filter(([key]) => DECIDING.test(key));
      return canonicalJson([kind, namespace, kind === 'Pod' ? '' : name, stable, own, kept, roleRef, subjects, data]);
    });
  return sha256Hex([...new Set(parts)].sort().join('\n'));
}

/** Annotations on which policies and proxies depend. What the injector writes down of itself differs between its versions. */
const DECIDING = /^(?:meshpass\.dev|(?!sidecar\.istio\.io\/status$)(?:[a-z.]+\.)?istio\.io)\//;

/** Of a running Pod, what policies and what stands before it depend on: the rest differs between replicas. */
function ofPod(spec: PodSpec): unknown {
  const ports = [...portNamesOf(spec)];
  return [serviceAccountOf(spec), spec.hostNetwork === true, hasProxy({ pod: spec }), ports];
}

export function isRevocation(one: Resource): boolean {
  return isOurs(one) && one.metadata.labels?.[COMPONENT] === 'revocation';
}
