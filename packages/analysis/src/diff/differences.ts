/**
 * Lists the objects that differ between two states, along with the effects that formulas do not capture. Two states
 * only count as equal at a port if each difference is either captured by the port's formulas or cannot affect the port.
 * This module states which of the two applies to each kind of object, so a new kind does not compile without an entry.
 */

import { memoize } from '@meshpass/identity';
import {
  type ConfigMap,
  clientTlsMode,
  coversHost,
  DEFAULT_MESH_CONFIG,
  type DestinationRule,
  findMeshConfig,
  fullHost,
  identityOf,
  type JwtRule,
  type MeshView,
  type Resource,
  type ResourceKind,
  type ResourceOf,
  readMeshConfig,
  selects,
  selectsByExpressions,
  type TrafficPolicy,
  unreadMeshSettings,
} from '@meshpass/istio';
import { items, texts } from '@meshpass/istio/members';
import { canonicalJson } from '../canonical-json.ts';
import type { Endpoint } from './endpoint.ts';
import type { PortPolicy } from './port-policy.ts';

/**
 * An object before and after a change. Each state contains one form of the object, or none if the object does not exist
 * in that state.
 */
type Forms<Kind extends ResourceKind = ResourceKind> = readonly [
  readonly ResourceOf<Kind>[],
  readonly ResourceOf<Kind>[],
];

/** A port that is being compared. */
interface ComparedPort {
  readonly endpoint: Endpoint;
  /** The port's policies in both states. Empty if the port's proxy cannot be modelled. */
  readonly portPolicies: readonly PortPolicy[];
  readonly views: readonly MeshView[];
}

export interface StateDifferences {
  /**
   * Explains which difference could change the calls that a port allows even though formulas do not capture it. Returns
   * undefined if there is no such difference.
   */
  readonly whyUnread: (port: ComparedPort) => string | undefined;
  /**
   * Whether any difference could affect a port whose proxy cannot be modelled.
   * @param namespaces the namespaces whose objects affect calls to the port; the empty string represents objects
   *   without a namespace
   */
  readonly mayAffect: (port: ComparedPort, namespaces: readonly string[]) => boolean;
}

/**
 * Explains which effect of a difference is not captured by a port's formulas. Returns undefined if the formulas capture
 * all relevant effects.
 */
type Unread<Kind extends ResourceKind> = (forms: Forms<Kind>, port: ComparedPort) => string | undefined;

/**
 * Used for kinds of objects whose effects are fully captured, either by formulas or by the reasons why ports are
 * unknown.
 */
const READ = () => undefined;
/** Used for kinds of objects that never affect which calls a proxy accepts. */
const NO_EFFECT = 'no effect';

const EFFECTS: { readonly [Kind in ResourceKind]: Unread<Kind> | typeof NO_EFFECT } = {
  AuthorizationPolicy: READ,
  PeerAuthentication: READ,
  RequestAuthentication: unreadTokens,
  // If a patch or an extension modifies a port's proxy, the result for that port is unknown.
  EnvoyFilter: READ,
  WasmPlugin: READ,
  TrafficExtension: READ,
  Sidecar: READ,
  Service: READ,
  // Pods and their Namespaces affect their own ports and the path that their calls to other workloads take.
  Namespace: unreadNamespace,
  Pod: READ,
  Deployment: READ,
  StatefulSet: READ,
  DaemonSet: READ,
  ReplicaSet: READ,
  Job: READ,
  Gateway: READ,
  KubernetesGateway: READ,
  GatewayClass: READ,
  ConfigMap: unreadSettings,
  DestinationRule: unreadTls,
  ServiceEntry: unreadEntry,
  VirtualService: unreadHosts,
  HTTPRoute: unreadParents,
  GRPCRoute: unreadParents,
  TCPRoute: unreadParents,
  TLSRoute: unreadParents,
  // Objects that configure entry points determine which calls reach a port, but not which ones its proxy accepts.
  ListenerSet: READ,
  XListenerSet: READ,
  ReferenceGrant: READ,
  BackendTLSPolicy: READ,
  SecurityPolicy: READ,
  Ingress: READ,
  IngressClass: READ,
  IngressClassParams: READ,
  ServiceAccount: NO_EFFECT,
  Role: NO_EFFECT,
  RoleBinding: NO_EFFECT,
  ClusterRole: NO_EFFECT,
  ClusterRoleBinding: NO_EFFECT,
};

/** Lists the objects that differ between two states of a mesh. */
export function compareStates(before: readonly Resource[], after: readonly Resource[]): StateDifferences {
  const [was, is] = [Map.groupBy(before, identityOf), Map.groupBy(after, identityOf)];
  const found = [...new Set([...was.keys(), ...is.keys()])].flatMap((name): readonly Forms[] => {
    const forms: Forms = [was.get(name) ?? [], is.get(name) ?? []];
    const isEqual = EFFECTS[oneOf(forms).kind] === NO_EFFECT || hasSameContent(forms);
    return isEqual ? [] : [forms];
  });
  const unread = found.flatMap((forms) => {
    const effect = EFFECTS[oneOf(forms).kind] as Unread<ResourceKind>;
    return effect === READ ? [] : [{ forms, effect }];
  });
  const changed = new Set(
    found.map(oneOf).map(({ kind, metadata }) => (kind === 'Namespace' ? metadata.name : metadata.namespace)),
  );
  const gateways = found.flatMap((forms) => forms.flat().filter((one) => one.kind === 'Gateway'));
  const whyUnread = (port: ComparedPort): string | undefined => {
    for (const { forms, effect } of unread) {
      const reason = effect(forms, port);
      if (reason !== undefined) return `${formatObject(oneOf(forms))} differs, and ${reason}`;
    }
    return undefined;
  };
  return {
    whyUnread,
    mayAffect: (port, namespaces) =>
      namespaces.some((namespace) => changed.has(namespace)) ||
      // A Gateway can select Pods in any namespace.
      gateways.some(({ spec }) => selects(spec.selector, port.endpoint.workload.labels)) ||
      whyUnread(port) !== undefined,
  };
}

/** Returns the object as it is after the change, or as it was before if the change removes it. */
function oneOf([was, is]: Forms): Resource {
  return (is[0] ?? was[0])!;
}

function hasSameContent([was, is]: Forms): boolean {
  if (was.length !== is.length) return false;
  if (was.every((one, index) => one === is[index])) return true;
  const [old, now] = [was, is].map((some) => some.map(contentOf).sort().join('\n'));
  return old === now;
}

/**
 * Returns the parts of an object that can affect calls. The two states come from different sources, so most metadata is
 * ignored.
 */
function contentOf(one: Resource): string {
  const { metadata, apiVersion: _, ...members } = one;
  const { labels = {}, annotations = {} } = metadata;
  const { status: __, ...kept } = members as Record<string, unknown>;
  return canonicalJson({ ...kept, labels, annotations });
}

/** Formats an object with its position, such as `DestinationRule shop/orders (mesh.yaml:12)`. */
function formatObject(object: Resource): string {
  const { file, line } = object.origin;
  // A Namespace does not itself belong to a namespace.
  return `${identityOf(object).replace(' /', ' ')}${line > 0 ? ` (${file}:${line})` : ''}`;
}

/**
 * Explains which parts of token rules are not compared. Formulas capture the issuers, audiences and locations of
 * tokens, but not what makes a token valid or which headers a rule writes.
 */
function unreadTokens(forms: Forms<'RequestAuthentication'>, { portPolicies }: ComparedPort): string | undefined {
  const isRead = portPolicies.some(({ requests = [] }) => forms.flat().some((one) => requests.includes(one)));
  const [was, is] = isRead ? portPolicies.map(unreadByIssuer) : [];
  const differs = was && [...was].some(([issuer, rules]) => is!.has(issuer) && is!.get(issuer) !== rules);
  return differs ? 'keys, prefixes and written headers of token rules are not compared' : undefined;
}

const unreadByIssuer = memoize(({ requests = [] }: PortPolicy): ReadonlyMap<string, string> => {
  const rules = requests.flatMap(({ spec }) => items(spec.jwtRules));
  const byIssuer = Map.groupBy(rules, ({ issuer = '' }) => issuer);
  return new Map([...byIssuer].map(([issuer, some]) => [issuer, [...new Set(some.map(unreadOfRule))].sort().join()]));
});

function unreadOfRule(rule: JwtRule): string {
  const { issuer: _, audiences: __, fromParams: ___, fromCookies: ____, timeout: _____, fromHeaders, ...rest } = rule;
  return canonicalJson([rest, items(fromHeaders).filter(({ prefix }) => prefix)]);
}

function unreadSettings(forms: Forms<'ConfigMap'>): string | undefined {
  return changesSettings(forms) ? 'settings of the mesh are not compared' : undefined;
}

const changesSettings = memoize((forms: Forms<'ConfigMap'>): boolean => {
  if (!/^istio(?:-|$)/.test(oneOf(forms).metadata.name)) return false;
  const [was, is] = forms.map(([map]) => settingsIn(map));
  return was !== is;
});

/** Returns the mesh settings that affect which calls a proxy accepts, or the settings of the sidecar injector. */
function settingsIn(map: ConfigMap | undefined): string {
  if (map && /^istio-sidecar-injector(?:-|$)/.test(map.metadata.name)) return canonicalJson(map.data ?? {});
  const text = map?.data?.mesh;
  const config = text === undefined ? DEFAULT_MESH_CONFIG : readMeshConfig(text);
  const { rootNamespace, trustDomain, trustDomainAliases, caTrustDomains } = config;
  const { pathNormalization, authorizers, discoverySelectors, destinationRuleExportTo = [] } = config;
  return canonicalJson([
    ...[rootNamespace, trustDomain, trustDomainAliases, caTrustDomains],
    ...[pathNormalization, authorizers, discoverySelectors, destinationRuleExportTo],
    unreadMeshSettings(text ?? ''),
  ]);
}

/** Explains why callers may lose their identity, which they only have if their proxies use Istio's mutual TLS. */
function unreadTls(forms: Forms<'DestinationRule'>, { endpoint, views }: ComparedPort): string | undefined {
  if (endpoint.services.length === 0 || !changesTls(forms)) return undefined;
  const isHere = ({ spec, metadata }: DestinationRule) =>
    endpoint.services.some((service) => namesService(spec.host ?? '', metadata.namespace, service));
  // Check this first: a mesh may have many rules, most of which apply to other hosts.
  if (!forms.some((some) => some.some(isHere))) return undefined;
  const isOther = views.some((view) => rulesOfOtherTls(view).some(isHere));
  return isOther ? 'the client TLS of callers is not compared' : undefined;
}

const changesTls = memoize((forms: Forms<'DestinationRule'>): boolean => {
  const [was, is] = forms.map((some) =>
    some.map(({ spec }) => {
      const { host, exportTo, workloadSelector, trafficPolicy, subsets } = spec;
      const ofSubsets = items(subsets).map((one) => [one.name, tlsOf(one.trafficPolicy)]);
      return canonicalJson([host, exportTo, workloadSelector, tlsOf(trafficPolicy), ofSubsets]);
    }),
  );
  return was!.join() !== is!.join();
});

/** Lists the DestinationRules that configure client TLS in any mode other than Istio's mutual TLS. */
const rulesOfOtherTls = memoize((view: MeshView): readonly DestinationRule[] =>
  view.all('DestinationRule').filter(({ spec }) => {
    const policies = [spec.trafficPolicy, ...items(spec.subsets).map(({ trafficPolicy }) => trafficPolicy)];
    const tls = policies.flatMap((one) => tlsOf(one) ?? []).map(([, settings]) => settings);
    return tls.some((settings) => settings !== undefined && clientTlsMode(settings) !== 'ISTIO_MUTUAL');
  }),
);

/**
 * Returns the client TLS settings of a traffic policy, including the ones for specific ports. Returns undefined if
 * there is no policy, because it then adds nothing to a merged rule.
 */
function tlsOf(policy: TrafficPolicy | undefined) {
  const ports = items(policy?.portLevelSettings).map(({ port, tls }) => [port?.number, tls] as const);
  return policy && [[undefined, policy.tls] as const, ...ports];
}

/** istiod only enforces the policies in a namespace if the mesh's `discoverySelectors` select the namespace. */
function unreadNamespace(forms: Forms<'Namespace'>, { endpoint, views }: ComparedPort): string | undefined {
  const { name } = oneOf(forms).metadata;
  const places = [endpoint.workload.namespace, ...views.map(({ config }) => config.rootNamespace)];
  if (!places.includes(name)) return undefined;
  const [was, is] = forms.map(([one], index) => one && isWatched(one, views[index]!));
  const isCompared = was === undefined || is === undefined || was === is;
  return isCompared ? undefined : "the mesh's discoverySelectors select it in one state only";
}

function isWatched({ metadata }: ResourceOf<'Namespace'>, view: MeshView): boolean {
  return settingsOf(view).discoverySelectors?.some((one) => selectsByExpressions(one, metadata.labels ?? {})) ?? true;
}

const settingsOf = memoize(({ resources }: MeshView) => findMeshConfig(resources));

/**
 * A ServiceEntry can give Pods in ambient mode an additional host that has its own waypoint. If it uses the host of a
 * Service, it determines where callers of that Service connect and whether they use mutual TLS.
 */
function unreadEntry(forms: Forms<'ServiceEntry'>, { endpoint, views }: ComparedPort): string | undefined {
  const { namespace, labels } = endpoint.workload;
  const isOfService = ({ host, namespace }: ReturnType<typeof hostsOfEntries>[number]) =>
    endpoint.services.some((service) => namesService(host, namespace, service));
  if (hostsOfEntries(forms).some(isOfService)) return 'one of its hosts is a Service of the port';
  const isAmbient = views.some((view) => view.dataPlane().proxyOf(endpoint.workload) === 'ztunnel');
  const isHere = ({ metadata, spec: { workloadSelector } }: ResourceOf<'ServiceEntry'>) =>
    metadata.namespace === namespace && workloadSelector !== undefined && selects(workloadSelector.labels, labels);
  return isAmbient && forms.flat().some(isHere) ? 'calls to its hosts are not compared' : undefined;
}

const hostsOfEntries = memoize((forms: Forms<'ServiceEntry'>) =>
  forms.flat().flatMap(({ metadata: { namespace }, spec }) => texts(spec.hosts).map((host) => ({ host, namespace }))),
);

/** A waypoint applies routes, so it may forward the calls that it accepts to other Pods. */
function unreadHosts(forms: Forms<'VirtualService'>, { endpoint: { through } }: ComparedPort): string | undefined {
  const isHere = ({ host, namespace }: ReturnType<typeof hostsInMesh>[number]) =>
    namesService(host, namespace, `${through!.name}.${through!.namespace}`);
  return through && hostsInMesh(forms).some(isHere) ? AT_WAYPOINT : undefined;
}

/**
 * Lists the hosts for which VirtualServices route calls within the mesh. A VirtualService without hosts could be a
 * delegate of any other VirtualService.
 */
const hostsInMesh = memoize((forms: Forms<'VirtualService'>) =>
  forms
    .flat()
    .filter(({ spec }) => !spec.gateways || spec.gateways.includes('mesh'))
    .flatMap(({ metadata: { namespace }, spec }) => {
      const hosts = texts(spec.hosts);
      return (hosts.length > 0 ? hosts : ['*']).map((host) => ({ host, namespace }));
    }),
);

function unreadParents(
  forms: Forms<'HTTPRoute' | 'GRPCRoute' | 'TCPRoute' | 'TLSRoute'>,
  { endpoint: { through } }: ComparedPort,
): string | undefined {
  if (!through) return undefined;
  const isHere = ({ metadata, spec }: Forms<'HTTPRoute' | 'GRPCRoute' | 'TCPRoute' | 'TLSRoute'>[0][number]) =>
    items(spec.parentRefs).some(
      ({ kind, name, namespace = metadata.namespace }) =>
        kind === 'Service' && name === through.name && namespace === through.namespace,
    );
  return forms.flat().some(isHere) ? AT_WAYPOINT : undefined;
}

const AT_WAYPOINT = 'routes at a waypoint are not compared';

/**
 * Whether a host in a resource refers to a given Service.
 * @param service the Service, such as `orders.shop`, optionally followed by a port
 */
function namesService(host: string, namespace: string, service: string): boolean {
  const name = `${service.replace(/:.*/, '')}.svc`;
  const { clusterDomain } = DEFAULT_MESH_CONFIG;
  const full = fullHost(host, namespace, clusterDomain);
  // The cluster may use a different DNS domain than the default.
  return coversHost(full, `${name}.${clusterDomain}`) || full.startsWith(`${name}.`);
}
