/**
 * Resolves the DestinationRule settings that apply to the calls of a proxy. Sources: `destinationRule` in
 * pilot/pkg/model/push_context.go, `mergeDestinationRule` in pilot/pkg/model/destination_rule.go, `DestinationRule` in
 * pilot/pkg/model/sidecar.go, and `tlsModeForDestinationRule` in pilot/pkg/xds/endpoints/mtls_checker.go of Istio 1.31.
 */
import { createMemo } from '@meshpass/identity';
import { type ExportDefaults, exportToOf } from '../mesh/export-to.ts';
import { coversHost, fullHost, serviceName } from '../mesh/host.ts';
import type { MeshConfig } from '../mesh/mesh-config.ts';
import { items, labels } from '../object/members.ts';
import type { ClientTls, DestinationRule, TrafficPolicy } from '../object/networking.ts';
import type { Labels } from '../object/object.ts';
import type { MeshObjects } from '../object/objects.ts';
import { selects } from '../object/selection.ts';

/** A proxy that calls a Service. */
export interface ClientProxy {
  readonly namespace: string;
  readonly labels: Labels;
}

export interface DestinationSettings {
  /**
   * Returns the client TLS setting for calls to a Service port. Returns undefined if no rule contains one, in which
   * case mutual TLS is automatic.
   */
  readonly clientTls: (port: number | undefined, subset?: string) => ClientTlsSetting | undefined;
  /** Returns the labels of a subset, or undefined if no rule defines the subset. */
  readonly subsetLabels: (subset: string) => Labels | undefined;
}

export interface ClientTlsSetting {
  readonly mode: NonNullable<ClientTls['mode']>;
  readonly tls: ClientTls;
  readonly by: DestinationRule;
}

/**
 * Returns the client TLS mode. If the mode is missing, it is DISABLE, which is the protobuf default.
 * @example
 * ```ts
 * import { clientTlsMode } from '@meshpass/istio';
 * clientTlsMode({}); // => 'DISABLE'
 * ```
 */
export function clientTlsMode({ mode }: ClientTls): NonNullable<ClientTls['mode']> {
  return mode ?? 'DISABLE';
}

/**
 * Creates a function that returns the settings for a proxy's calls to a Service.
 * @example
 * ```ts
 * import { destinationSettings, indexObjects, loadManifests } from '@meshpass/istio';
 * const rule = `{apiVersion: networking.istio.io/v1, kind: DestinationRule, metadata: {name: all, namespace: istio-system},
 *   spec: {host: '*.local', trafficPolicy: {tls: {mode: ISTIO_MUTUAL}}}}`;
 * const objects = indexObjects(loadManifests(rule, 'rule.yaml').resources);
 * const settingsOf = destinationSettings(objects, { clusterDomain: 'cluster.local', rootNamespace: 'istio-system' });
 * const gateway = { namespace: 'istio-ingress', labels: {} };
 * settingsOf(gateway, 'orders.shop.svc.cluster.local').clientTls(80)?.mode; // => 'ISTIO_MUTUAL'
 * ```
 */
export function destinationSettings(
  objects: Pick<MeshObjects, 'within'>,
  config: Pick<MeshConfig, 'clusterDomain' | 'rootNamespace'> & ExportDefaults,
): (client: ClientProxy, host: string) => DestinationSettings {
  const { clusterDomain, rootNamespace } = config;
  const once = createMemo();
  const merged = (namespace: string, host: string, index: Index): readonly MergedRule[] =>
    once(JSON.stringify([namespace, host, index.name]), () => {
      const rules = objects
        .within('DestinationRule', namespace)
        .map((rule) => ({ rule, exportTo: new Set(exportToOf(rule, config)) }))
        .filter(index.includes);
      return merge(mostSpecific(rules, host, clusterDomain));
    });
  const found = ({ namespace }: ClientProxy, host: string): readonly MergedRule[] => {
    const own = merged(namespace, host, namespace === rootNamespace ? PRIVATE : LOCAL);
    if (own.length > 0) return own;
    const places = [serviceName(host, clusterDomain)?.namespace ?? rootNamespace, rootNamespace];
    const exported = places.map((place) =>
      merged(place, host, EXPORTED).filter(({ exportTo }) => isExported(exportTo, namespace)),
    );
    return exported.find((some) => some.length > 0) ?? [];
  };
  return (client, host) => {
    const name = host.toLowerCase();
    const rules = found(client, name);
    const chosen =
      rules.find(
        ({ namespace, selector }) => namespace === client.namespace && selector && selects(selector, client.labels),
      ) ?? rules.findLast(({ selector }) => !selector);
    return settingsOf(chosen?.rules ?? []);
  };
}

/** DestinationRules that istiod merges because they are for the same host in the same namespace. */
interface MergedRule {
  readonly namespace: string;
  readonly exportTo: ReadonlySet<string>;
  readonly selector: Labels | undefined;
  readonly rules: DestinationRule[];
}

interface ExportedRule {
  readonly rule: DestinationRule;
  readonly exportTo: ReadonlySet<string>;
}

interface Index {
  readonly name: string;
  readonly includes: (one: ExportedRule) => boolean;
}

/** DestinationRules that apply to proxies in the rule's own namespace. */
const LOCAL: Index = {
  name: 'local',
  includes: ({ rule, exportTo }) => isExported(exportTo, rule.metadata.namespace) || exportTo.has('.'),
};
/** DestinationRules that only apply to proxies in the rule's own namespace. */
const PRIVATE: Index = { name: 'private', includes: isPrivate };
const EXPORTED: Index = { name: 'exported', includes: (one) => !isPrivate(one) };

function isPrivate({ rule, exportTo }: ExportedRule): boolean {
  return exportTo.size === 1 && (exportTo.has('.') || exportTo.has(rule.metadata.namespace));
}

function isExported(exportTo: ReadonlySet<string>, namespace: string): boolean {
  return exportTo.has('*') || exportTo.has(namespace);
}

/** Returns the rules for exactly this host, or otherwise those with the longest wildcard that covers it. */
function mostSpecific(rules: readonly ExportedRule[], host: string, clusterDomain: string): readonly ExportedRule[] {
  const covering = rules
    .map((one) => ({ one, name: hostOf(one.rule, clusterDomain) }))
    .filter(({ name }) => coversHost(name, host));
  const rank = (name: string) => (name === host ? Number.POSITIVE_INFINITY : name.length);
  const best = Math.max(...covering.map(({ name }) => rank(name)));
  return covering.filter(({ name }) => rank(name) === best).map(({ one }) => one);
}

function hostOf({ metadata, spec }: DestinationRule, clusterDomain: string): string {
  return fullHost(spec.host ?? '', metadata.namespace, clusterDomain).toLowerCase();
}

/** Merges the rules for one host, oldest first. Rules with a workload selector come before all others. */
function merge(rules: readonly ExportedRule[]): readonly MergedRule[] {
  const entries: MergedRule[] = [];
  for (const { rule, exportTo } of rules.toSorted((a, b) => rankOf(a.rule) - rankOf(b.rule))) {
    const { namespace } = rule.metadata;
    const selector = rule.spec.workloadSelector && labels(rule.spec.workloadSelector.matchLabels);
    const ways = entries.map((entry) => ({ entry, way: wayInto(entry, { exportTo, selector }) }));
    for (const { entry, way } of ways) if (way !== 'apart') entry.rules.push(rule);
    // As in istiod, the last entry determines whether a new one is added.
    if (ways.at(-1)?.way !== 'merged') entries.push({ namespace, exportTo, selector, rules: [rule] });
  }
  return entries;
}

function rankOf({ spec }: DestinationRule): number {
  return spec.workloadSelector ? 0 : 1;
}

/** Determines whether a rule is merged into an existing entry, stays separate, or both. */
function wayInto(
  entry: MergedRule,
  { exportTo, selector }: Pick<MergedRule, 'exportTo' | 'selector'>,
): 'merged' | 'apart' | 'both' {
  const isSuperset = [...entry.exportTo].every((one) => exportTo.has(one));
  const isSame = isSuperset && entry.exportTo.size === exportTo.size;
  if (!isSuperset) return 'apart';
  if (!selector && !entry.selector) return 'merged';
  if (!selector || !entry.selector) return isSame ? 'merged' : 'both';
  const areEqual = selects(selector, entry.selector) && selects(entry.selector, selector);
  return areEqual ? 'merged' : 'apart';
}

/**
 * Combines rules into settings. The oldest traffic policy applies. If subsets have the same name, the oldest of them
 * applies.
 */
function settingsOf(rules: readonly DestinationRule[]): DestinationSettings {
  const subsets = rules.flatMap((by) => items(by.spec.subsets).map((subset) => ({ subset, by })));
  const subsetAt = (wanted: string) => subsets.find(({ subset }) => subset.name === wanted);
  const general = rules.find(({ spec }) => spec.trafficPolicy !== undefined);
  return {
    clientTls: (port, subset) => {
      const own = subset === undefined ? undefined : subsetAt(subset);
      if (subset !== undefined && !own) return undefined;
      return (
        (own && tlsOf(own.by, own.subset.trafficPolicy, port)) ??
        (general && tlsOf(general, general.spec.trafficPolicy, port))
      );
    },
    subsetLabels: (subset) => {
      const found = subsetAt(subset);
      return found && labels(found.subset.labels);
    },
  };
}

function tlsOf(
  by: DestinationRule,
  policy: TrafficPolicy | undefined,
  wanted: number | undefined,
): ClientTlsSetting | undefined {
  const ofPort = items(policy?.portLevelSettings).find(({ port, tls }) => port?.number === wanted && tls !== undefined);
  const tls = ofPort?.tls ?? policy?.tls;
  return tls && { mode: clientTlsMode(tls), tls, by };
}
