/**
 * Ports to which the mesh gateway forwards no connection. It forwards only to endpoints that istiod considers to accept
 * mutual TLS of Istio, which a DestinationRule decides before anything else. Sources: `checkMtlsEnabled` in
 * pilot/pkg/xds/endpoints/mtls_checker.go and `destinationRule` in pilot/pkg/model/push_context.go of Istio 1.31.
 */

import type { MeshShape } from '@meshpass/access/compile';
import {
  coversHost,
  fullHost,
  indexObjects,
  isExportedTo,
  type MeshConfig,
  type Resource,
  type ResourceOf,
  selects,
} from '@meshpass/istio';

type DestinationRule = ResourceOf<'DestinationRule'>;
type Place = Pick<MeshShape, 'gateway' | 'clusterDomain' | 'rootNamespace'> & { readonly config: MeshConfig };

/** Creates a function that returns why the mesh gateway forwards no connection to a Service port. */
export function forwarding(
  cluster: readonly Resource[],
  { gateway, clusterDomain, rootNamespace, config }: Place,
): (service: { readonly name: string; readonly namespace: string }, port: number) => string | undefined {
  const hostOf = ({ metadata, spec }: DestinationRule) =>
    fullHost(spec.host ?? '', metadata.namespace, clusterDomain).toLowerCase();
  const isFor = (rule: DestinationRule): boolean => {
    const labels = rule.spec.workloadSelector?.matchLabels;
    return isExportedTo(rule, gateway.namespace, config) && (labels === undefined || selects(labels, gateway.labels));
  };
  const byNamespace = Map.groupBy(
    indexObjects(cluster).all('DestinationRule').filter(isFor),
    ({ metadata }) => metadata.namespace,
  );
  if (byNamespace.size === 0) return () => undefined;
  return ({ name, namespace }, port) => {
    const host = `${name}.${namespace}.svc.${clusterDomain}`;
    const rules = [gateway.namespace, namespace, rootNamespace]
      .map((place) => mostSpecific(byNamespace.get(place) ?? [], host, hostOf))
      .find((some) => some.length > 0);
    // istiod merges subsets only: the oldest traffic policy applies.
    const rule = rules?.find(({ spec }) => spec.trafficPolicy !== undefined);
    const policy = rule?.spec.trafficPolicy;
    const ofPort = policy?.portLevelSettings?.find((one) => one.port?.number === port && one.tls !== undefined);
    const tls = ofPort?.tls ?? policy?.tls;
    const mode = tls === undefined ? 'ISTIO_MUTUAL' : (tls.mode ?? 'DISABLE');
    if (!rule || mode === 'ISTIO_MUTUAL') return undefined;
    const by = `DestinationRule ${rule.metadata.namespace}/${rule.metadata.name}`;
    return `${by} sets tls.mode ${mode}, and the mesh gateway forwards to ISTIO_MUTUAL only`;
  };
}

/** Returns the rules for the host itself, or else those with the longest wildcard that covers it. */
function mostSpecific(
  rules: readonly DestinationRule[],
  host: string,
  hostOf: (rule: DestinationRule) => string,
): readonly DestinationRule[] {
  const covering = rules.map((rule) => ({ rule, name: hostOf(rule) })).filter(({ name }) => coversHost(name, host));
  const rank = (name: string) => (name === host ? Number.POSITIVE_INFINITY : name.length);
  const best = Math.max(...covering.map(({ name }) => rank(name)));
  return covering.filter(({ name }) => rank(name) === best).map(({ rule }) => rule);
}
