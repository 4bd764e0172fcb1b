/** Identifies the state of the cluster that a plan depends on. */
import { isOurs } from '@meshpass/access/compile';
import { sha256Hex } from '@meshpass/identity';
import {
  type DestinationRule,
  hasProxy,
  type PodSpec,
  portNamesOf,
  type Resource,
  serviceAccountOf,
} from '@meshpass/istio';
import { items } from '@meshpass/istio/members';
import { canonicalJson } from '../canonical-json.ts';

/** The label of objects that are created for sessions instead of for the access file. */
const COMPONENT = 'app.kubernetes.io/component';

/**
 * Computes a hash of everything that a plan depends on, regardless of the order of the objects. VirtualServices are
 * excluded, because they only cause notes and are changed often by rollouts.
 */
export function stateOf(cluster: readonly Resource[]): string {
  const parts = cluster
    .filter((one) => !isRevocation(one) && one.kind !== 'VirtualService')
    .map((one) => {
      const { kind, metadata } = one;
      const { spec, roleRef, subjects, data } = one as unknown as Record<string, unknown>;
      const { namespace, name, labels, annotations } = metadata;
      const kept = decidingPart(kind, spec);
      // All replicas of a workload count as one, so that a rollout does not make a plan stale.
      const { 'pod-template-hash': _, ...stable } = labels ?? {};
      const own = Object.entries(annotations ?? {}).filter(([key]) => DECIDING.test(key));
      return canonicalJson([kind, namespace, kind === 'Pod' ? '' : name, stable, own, kept, roleRef, subjects, data]);
    });
  return sha256Hex([...new Set(parts)].sort().join('\n'));
}

/**
 * Matches annotations that affect policies and proxies. The status of the sidecar injector is excluded, because it
 * differs between versions of Istio.
 */
const DECIDING = /^(?:meshpass\.dev|(?!sidecar\.istio\.io\/status$)(?:[a-z.]+\.)?istio\.io)\//;

function decidingPart(kind: Resource['kind'], spec: unknown): unknown {
  if (kind === 'Pod') return ofPod(spec as PodSpec);
  return kind === 'DestinationRule' ? ofDestinationRule(spec as DestinationRule['spec']) : spec;
}

/**
 * Returns the fields that determine the client TLS settings of the mesh gateway. Subsets are excluded, because rollouts
 * rewrite their labels.
 */
function ofDestinationRule({ host, exportTo, workloadSelector, trafficPolicy }: DestinationRule['spec']): unknown {
  const ports = items(trafficPolicy?.portLevelSettings).flatMap(({ port, tls }) => (tls ? [[port?.number, tls]] : []));
  // The oldest traffic policy takes effect even if it does not configure TLS.
  return [host, exportTo, workloadSelector, trafficPolicy && { tls: trafficPolicy.tls, ports }];
}

/**
 * Returns the fields of a running Pod that affect its policies and its proxy. All other fields differ between replicas.
 */
function ofPod(spec: PodSpec): unknown {
  const ports = [...portNamesOf(spec)];
  return [serviceAccountOf(spec), spec.hostNetwork === true, hasProxy({ pod: spec }), ports];
}

/** Whether an object is a revocation that was written by the broker. */
export function isRevocation(one: Resource): boolean {
  return isOurs(one) && one.metadata.labels?.[COMPONENT] === 'revocation';
}
