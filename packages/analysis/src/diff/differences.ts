/**
 * Objects that differ between two states, and what formulas do not show of them. Two states count as equal at a port only
 * if each difference was read by the formulas of the port, or cannot affect it. Each kind of object states here which of
 * the two holds, so that a new kind does not compile without an answer.
 */

import { memoize } from '@meshpass/identity/memory/remembered';
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

/** Forms of an object before and after a change: one each, or none in a state without it. */
type Forms<Kind extends ResourceKind = ResourceKind> = readonly [
  readonly ResourceOf<Kind>[],
  readonly ResourceOf<Kind>[],
];

/** Port to compare. */
interface ComparedPort {
  readonly endpoint: Endpoint;
  /** Policies of both states; empty if the port is not understood. */
  readonly portPolicies: readonly PortPolicy[];
  readonly views: readonly MeshView[];
}

export interface StateDifferences {
  /**
   * Explains which difference may change the calls that a port allows although formulas do not show it. Undefined if there
   * is none.
   */
  readonly whyUnread: (port: ComparedPort) => string | undefined;
  /**
   * Whether a difference may affect a port that is not understood.
   * @param namespaces those whose objects decide about its calls; the empty name for objects without a namespace
   */
  readonly mayAffect: (port: ComparedPort, namespaces: readonly string[]) => boolean;
}

/** Explains what formulas do not show of a difference at a port. Undefined if they show all that matters there. */
type Unread<Kind extends ResourceKind> = (forms: Forms<Kind>, port: ComparedPort) => string | undefined;

/** Formulas, or the reasons why ports are unknown, show every effect. */
const READ = () => undefined;
/** The object never affects which calls a proxy accepts. */
const NO_EFFECT = 'no effect';

const EFFECTS: { readonly [Kind in ResourceKind]: Unread<Kind> | typeof NO_EFFECT } = {
  AuthorizationPolicy: READ,
  PeerAuthentication: READ,
  RequestAuthentication: unreadTokens,
  // Patches and extensions make the ports unknown whose proxies they change.
  EnvoyFilter: READ,
  WasmPlugin: READ,
  TrafficExtension: READ,
  Sidecar: READ,
  Service: READ,
  // Pods and their Namespaces decide about their own ports, and about the way of calls that they make.
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
  // Objects of entry points decide what reaches a port, not what its proxy accepts.
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

/** Lists the differences between two states. */
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
      // A Gateway selects Pods of every namespace.
      gateways.some(({ spec }) => selects(spec.selector, port.endpoint.workload.labels)) ||
      whyUnread(port) !== undefined,
  };
}

/** Returns the object after the change, or else before it. */
function oneOf([was, is]: Forms): Resource {
  return (is[0] ?? was[0])!;
}

function hasSameContent([was, is]: Forms): boolean {
  if (was.length !== is.length) return false;
  if (was.every((one, index) => one === is[index])) return true;
  const [old, now] = [was, is].map((some) => some.map(contentOf).sort().join('\n'));
  return old === now;
}

/** Content that can affect calls. The states come from different sources, so only these metadata count. */
function contentOf(one: Resource): string {
  const { metadata, apiVersion: _, ...members } = one;
  const { labels = {}, annotations = {} } = metadata;
  const { status: __, ...kept } = members as Record<string, unknown>;
  return canonicalJson({ ...kept, labels, annotations });
}

/** Formats `DestinationRule shop/orders (mesh.yaml:12)`. */
function formatObject(object: Resource): string {
  const { file, line } = object.origin;
  // A Namespace has no namespace itself.
  return `${identityOf(object).replace(' /', ' ')}${line > 0 ? ` (${file}:${line})` : ''}`;
}

/** Formulas show issuers, audiences and places of tokens, but not what makes a token valid and what a rule writes. */
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

/** Settings that affect which calls a proxy accepts, and those of the injector of sidecars. */
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

/** Client TLS other than Istio's takes the identity of callers. */
function unreadTls(forms: Forms<'DestinationRule'>, { endpoint, views }: ComparedPort): string | undefined {
  if (endpoint.services.length === 0 || !changesTls(forms)) return undefined;
  const isHere = ({ spec, metadata }: DestinationRule) =>
    endpoint.services.some((service) => namesService(spec.host ?? '', metadata.namespace, service));
  // A mesh has many rules, most of which have another host.
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

/** Lists the DestinationRules of a mesh whose client TLS is not Istio's. */
const rulesOfOtherTls = memoize((view: MeshView): readonly DestinationRule[] =>
  view.all('DestinationRule').filter(({ spec }) => {
    const policies = [spec.trafficPolicy, ...items(spec.subsets).map(({ trafficPolicy }) => trafficPolicy)];
    const tls = policies.flatMap((one) => tlsOf(one) ?? []).map(([, settings]) => settings);
    return tls.some((settings) => settings !== undefined && clientTlsMode(settings) !== 'ISTIO_MUTUAL');
  }),
);

/** Client TLS of a policy in general and by port. Undefined without a policy, which then is no part of a merged rule. */
function tlsOf(policy: TrafficPolicy | undefined) {
  const ports = items(policy?.portLevelSettings).map(({ port, tls }) => [port?.number, tls] as const);
  return policy && [[undefined, policy.tls] as const, ...ports];
}

/** istiod enforces the policies of a namespace only if the mesh's `discoverySelectors` select it. */
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
 * A ServiceEntry gives Pods in ambient mode another host, with a waypoint of its own. One with the host of a Service
 * decides where its callers go, and whether they use mutual TLS.
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

/** A waypoint applies routes: calls that it accepts may go to other Pods. */
function unreadHosts(forms: Forms<'VirtualService'>, { endpoint: { through } }: ComparedPort): string | undefined {
  const isHere = ({ host, namespace }: ReturnType<typeof hostsInMesh>[number]) =>
    namesService(host, namespace, `${through!.name}.${through!.namespace}`);
  return through && hostsInMesh(forms).some(isHere) ? AT_WAYPOINT : undefined;
}

/** Lists the hosts whose calls within the mesh VirtualServices route. Those without hosts may be delegates of any other. */
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
 * Whether a host is a Service.
 * @param service `orders.shop`, with or without its port
 */
function namesService(host: string, namespace: string, service: string): boolean {
  const name = `${service.replace(/:.*/, '')}.svc`;
  const { clusterDomain } = DEFAULT_MESH_CONFIG;
  const full = fullHost(host, namespace, clusterDomain);
  // The domain of the cluster may be another.
  return coversHost(full, `${name}.${clusterDomain}`) || full.startsWith(`${name}.`);
}
