/**
 * Indexes which calls each port of each workload allows under all policies in a single state of the mesh. The formula
 * for a set of policies is only built once, so two ports with the same key have the same meaning.
 */

import { createMemo, memoize } from '@meshpass/identity';
import {
  type AttachedService,
  type AuthorizationPolicy,
  actionOf,
  attachedLayers,
  authorizationPolicies,
  type CustomEffect,
  customEffects,
  DEFAULT_MESH_CONFIG,
  isDryRun,
  type JwtRule,
  type Layers,
  type MeshSettings,
  type MeshView,
  type PeerMode,
  type PeerModes,
  peerAuthentications,
  peerModesOf,
  providerOf,
  type RequestAuthentication,
  type Resource,
  requestAuthentications,
  type Service,
  type ServiceWaypoint,
  servicePortProtocols,
  serviceWaypoint,
  viewMesh,
  type Workload,
  type WorkloadPort,
  workloadPorts,
  ztunnelPeerModes,
} from '@meshpass/istio';
import { ALWAYS, all, any, type Condition, flag, NEVER, not } from './formula/condition.ts';
import type { PortPolicy } from './port-policy.ts';
import { listPolicyPorts, type Place, ruleCondition } from './rule-condition.ts';
import { combineWaypointPolicy } from './through-waypoint.ts';
import { type TokenConditions, type TokenLocations, tokenConditions, tokenLocations } from './token-condition.ts';
import type { Protocol } from './workloads.ts';
import { isEnforcedByZtunnel, ztunnelPeers, ztunnelRuleCondition } from './ztunnel-condition.ts';

/** A port of a Service that is served by a waypoint. */
export interface ServedPort {
  readonly namespace: string;
  readonly name: string;
  readonly port: number;
}

export interface PolicyIndex extends Pick<MeshView, 'dataPlane'> {
  /**
   * Returns the policies that decide calls to a port.
   * @param port the port of the Pod, or undefined to represent a port that no object mentions
   * @param spoken the protocol that the client uses, which determines the rules that apply on an undeclared port
   * @param service the Service whose waypoint forwards the call, if it has a waypoint in this state
   */
  readonly at: (workload: Workload, port: number | undefined, spoken: Protocol, service?: ServedPort) => PortPolicy;
  /** Returns the policies that a ztunnel would enforce for the workload, even if it does not have one. */
  readonly atZtunnel: (workload: Workload, port: number | undefined) => PortPolicy;
  /**
   * Returns the waypoint that a Service uses for a workload in ambient mode, or the reason why the waypoint is unknown.
   */
  readonly waypointOf: (
    workload: Workload,
    service: Pick<ServedPort, 'namespace' | 'name'>,
  ) => ServiceWaypoint | undefined;
  /**
   * Returns the principals of all waypoints in front of a workload in ambient mode, including the waypoints of Services
   * that do not exist yet.
   */
  readonly waypointPrincipals: (workload: Workload) => readonly string[];
  readonly view: MeshView;
  /** Returns the ports of a workload that Services route to in this state. */
  readonly portsOf: (workload: Workload) => ReadonlyMap<number, WorkloadPort>;
  /** The ports that policies mention, even if no Service routes to them. */
  readonly portsNamed: readonly number[];
}

type Policy = AuthorizationPolicy | RequestAuthentication;

/**
 * Indexes the policies in a single state of the mesh.
 * @param places the locations of tokens in all states that are compared
 */
export function indexPolicies(
  resources: readonly Resource[],
  settings: MeshSettings,
  places: TokenLocations = tokenLocations(resources),
): PolicyIndex {
  const { rootNamespace, trustDomain, trustDomainAliases } = settings;
  const view = viewMesh(resources, { ...DEFAULT_MESH_CONFIG, rootNamespace, trustDomain, trustDomainAliases });
  const enforced = view.all('AuthorizationPolicy').filter(isEnforced);
  const authorization = memoize(attachedLayers(enforced, rootNamespace, view.proxyKind));
  const request = memoize(attachedLayers(view.all('RequestAuthentication'), rootNamespace, view.proxyKind));
  const peersOf = memoize((one: Workload) => peerModesOf(view, { ...one, kind: view.proxyKind(one.labels) }));
  const ztunnelPeersOf = memoize((one: Workload) =>
    ztunnelPeerModes(peerAuthentications(view, one), one, rootNamespace),
  );
  const portsOf = memoize((one: Workload) => workloadPorts(view, settings, one));
  const once = createMemo();
  const numbers = new Map<Policy, number>();
  for (const resource of resources) numbers.set(resource as Policy, numbers.size);
  const listed = new Map<string, number>();
  /**
   * Returns a short ID that is the same for equal lists of policies. IDs are memoized, because all workloads share the
   * lists for the mesh and for their namespace.
   */
  const idOf = memoize((policies: readonly Policy[]): number => {
    const names = policies.map((one) => numbers.get(one)).join();
    const id = listed.get(names) ?? listed.size;
    listed.set(names, id);
    return id;
  });
  const idsOf = (layers: Layers<Policy>): string => layers.map(idOf).join(';');
  const portsNamedBy = memoize(listPolicyPorts);
  const namesPorts = (policy: AuthorizationPolicy) => portsNamedBy(policy).length > 0;
  const dependsOnPort = memoize((layer: readonly AuthorizationPolicy[]) => layer.some(namesPorts));

  const portOf = (some: readonly AuthorizationPolicy[], port: number | undefined) =>
    dependsOnPort(some) ? (port ?? 'other') : '';
  const modeAt = ({ ports, general }: PeerModes, port: number | undefined) =>
    ((port === undefined ? undefined : ports.get(port)) ?? general).mode;
  const isAtZtunnel = (workload: Workload) =>
    view.proxyKind(workload.labels) === 'sidecar' && view.dataPlane().proxyOf(workload) === 'ztunnel';

  const waypointOf: PolicyIndex['waypointOf'] = (workload, { namespace, name }) => {
    const service = isAtZtunnel(workload) ? serviceOf(view, { namespace, name }) : undefined;
    return service && serviceWaypoint(view, service);
  };

  const waypointPrincipals = memoize((workload: Workload): readonly string[] => {
    if (!isAtZtunnel(workload)) return [];
    const future: Pick<Service, 'metadata' | 'spec'> = {
      metadata: { name: '', namespace: workload.namespace },
      spec: {},
    };
    const services = [future, ...view.servicesBefore(workload)];
    return services.flatMap((service) => serviceWaypoint(view, service)?.waypoint?.principals ?? []);
  });

  const at: PolicyIndex['at'] = (workload, port, spoken, service) => {
    const found = service && waypointOf(workload, service);
    if (found) return through(workload, port, spoken, service, found);
    if (isAtZtunnel(workload)) return atZtunnel(workload, port);
    const declared = port === undefined ? undefined : portsOf(workload).get(port)?.protocol;
    if (declared === 'http' && spoken === 'tcp') return NOT_HTTP;
    const protocol = declared === 'tcp' ? 'tcp' : spoken;
    const requests = protocol === 'http' ? request(workload) : NO_LAYERS;
    return atEnvoy(protocol, port, modeAt(peersOf(workload), port), authorization(workload), requests);
  };

  const through = (
    workload: Workload,
    port: number | undefined,
    spoken: Protocol,
    service: ServedPort,
    { waypoint, unknown }: ServiceWaypoint,
  ): PortPolicy => {
    if (unknown !== undefined) return { key: `unknown ${unknown}`, allowed: NEVER, policies: () => [], unknown };
    const { spec } = serviceOf(view, service)!;
    const declared = servicePortProtocols({ spec }).get(service.port);
    if (declared === 'http' && spoken === 'tcp') return NOT_HTTP;
    const protocol = declared === 'tcp' ? 'tcp' : spoken;
    const attached: AttachedService = { kind: 'Service', namespace: service.namespace, name: service.name };
    const layerOf = <P extends Policy>(policies: readonly P[]): Layers<P> => [[], [], policies];
    const layers = layerOf(authorizationPolicies(view, waypoint.proxy, attached).filter(isEnforced));
    const requests = protocol === 'http' ? layerOf(requestAuthentications(view, waypoint.proxy, attached)) : NO_LAYERS;
    const atWaypoint = atEnvoy(protocol, service.port, 'PERMISSIVE', layers, requests);
    return combineWaypointPolicy(waypoint, spec.clusterIP || undefined, atWaypoint, atZtunnel(workload, port));
  };

  const atZtunnel: PolicyIndex['atZtunnel'] = (workload, port) => {
    const layers = authorization(workload);
    const mode = modeAt(ztunnelPeersOf(workload), port);
    const key = ['ztunnel', layers.map((layer) => portOf(layer, port)).join(), mode, idsOf(layers)].join('|');
    return once(key, (): PortPolicy => {
      const policies = layers.flat().filter(isEnforcedByZtunnel);
      const rulesOf = (policy: AuthorizationPolicy) => {
        const id = `${key} rules ${numbers.get(policy)}`;
        return once(id, () => (policy.spec.rules ?? []).map((rule) => ztunnelRuleCondition(rule, policy, port)));
      };
      const ofAction = (action: string) => policies.filter((policy) => actionOf(policy) === action);
      const matched = (some: readonly AuthorizationPolicy[]) => any(some.map((policy) => any(rulesOf(policy))));
      const allowing = ofAction('ALLOW');
      const allowed = all([
        ztunnelPeers(mode, settings),
        not(matched(ofAction('DENY'))),
        allowing.length === 0 ? ALWAYS : matched(allowing),
      ]);
      return {
        key,
        allowed,
        policies: () => policies.map((policy) => ({ policy, rules: rulesOf(policy), refuses: false })),
        ignored: () =>
          ofAction('DENY').flatMap((policy) =>
            rulesOf(policy).flatMap((condition, rule) => (condition === NEVER ? [{ policy, rule }] : [])),
          ),
      };
    });
  };

  const atEnvoy = (
    protocol: Protocol,
    port: number | undefined,
    mode: PeerMode['mode'],
    layers: Layers<AuthorizationPolicy>,
    requests: Layers<RequestAuthentication>,
  ): PortPolicy => {
    const tokenKey = idsOf(requests);
    const key = [protocol, layers.map((layer) => portOf(layer, port)).join(), mode, tokenKey, idsOf(layers)].join('|');
    return once(`at ${key}`, (): PortPolicy => {
      const { accepted, tolerable } =
        protocol === 'tcp' ? NO_TOKENS : once(`tokens ${tokenKey}`, () => tokenConditions(jwtRules(requests), places));
      const plain = mode === 'DISABLE';
      const place: Place = { protocol, port, trust: settings, accepted, plain };
      // Envoy calls external authorizers before it verifies tokens (pilot/pkg/networking/core/listener_builder.go).
      const early: Place = { ...place, accepted: NEVER };
      const placeOf = (policy: AuthorizationPolicy) => (actionOf(policy) === 'CUSTOM' ? early : place);
      const rulesOf = (policy: AuthorizationPolicy): readonly Condition[] => {
        const id = `rules ${numbers.get(policy)}|${protocol}|${tokenKey}|${namesPorts(policy) ? (port ?? 'other') : ''}|${plain}`;
        return once(id, () => (policy.spec.rules ?? []).map((rule) => ruleCondition(rule, policy, placeOf(policy))));
      };
      const matched = (some: readonly AuthorizationPolicy[]) => any(some.map((policy) => any(rulesOf(policy))));
      /** Returns one condition for each layer. The many workloads that share a layer also share its formula. */
      const matching = (action: string): readonly Condition[] =>
        layers.flatMap((layer) => {
          const id = `layer ${action}|${idOf(layer)}|${protocol}|${tokenKey}|${portOf(layer, port)}|${plain}`;
          const some = once(id, () => layer.filter((policy) => actionOf(policy) === action));
          return some.length === 0 ? [] : [once(`any ${id}`, () => matched(some))];
        });
      const allowing = matching('ALLOW');
      const customs = layers.flat().filter((policy) => actionOf(policy) === 'CUSTOM');
      const effectOf = customEffects(customs, settings.authorizers, protocol);
      const customOf = (effect: CustomEffect) => customs.filter((policy) => effectOf(policy) === effect);
      const allowed = all([
        mode === 'STRICT' ? flag('peer') : ALWAYS,
        tolerable,
        not(matched(customOf('refused'))),
        ...[...Map.groupBy(customOf('asked'), providerOf)].map(([provider, some]) =>
          any([not(matched(some)), flag(`custom:${provider}`)]),
        ),
        not(any(matching('DENY'))),
        allowing.length === 0 ? ALWAYS : any(allowing),
      ]);
      const inForce = layers
        .flat()
        .filter(
          (policy) => actionOf(policy) !== 'AUDIT' && (actionOf(policy) !== 'CUSTOM' || effectOf(policy) !== 'nothing'),
        );
      const policies = () =>
        inForce.map((policy) => ({
          policy,
          // Rules are translated on demand, because the rules of only a few policies are needed.
          get rules() {
            return rulesOf(policy);
          },
          refuses: actionOf(policy) === 'CUSTOM' && effectOf(policy) === 'refused',
        }));
      return { key, allowed, policies, plain, requests: requests.flat() };
    });
  };
  return {
    at,
    atZtunnel,
    waypointOf,
    waypointPrincipals,
    view,
    dataPlane: view.dataPlane,
    portsOf,
    portsNamed: [
      ...new Set([
        ...view.all('AuthorizationPolicy').flatMap(portsNamedBy),
        ...view.all('PeerAuthentication').flatMap(({ spec }) => Object.keys(spec.portLevelMtls ?? {}).map(Number)),
      ]),
    ].sort((a, b) => a - b),
  };
}

/** Finds a Service by its namespace and name. */
export function serviceOf(view: MeshView, { namespace, name }: Pick<ServedPort, 'namespace' | 'name'>) {
  return view.within('Service', namespace).find(({ metadata }) => metadata.name === name);
}

/** Whether a policy is enforced. CUSTOM policies may reject calls even in dry-run mode. */
function isEnforced(policy: AuthorizationPolicy): boolean {
  return !isDryRun(policy) || actionOf(policy) === 'CUSTOM';
}

function jwtRules(layers: Layers<RequestAuthentication>): readonly JwtRule[] {
  return layers.flat().flatMap(({ spec }) => spec.jwtRules ?? []);
}

const NO_LAYERS: Layers<never> = [[], [], []];

const NO_TOKENS: TokenConditions = { accepted: NEVER, tolerable: ALWAYS };

const NOT_HTTP: PortPolicy = {
  key: 'not-http',
  allowed: NEVER,
  policies: () => [],
  closed: 'the port is declared as HTTP, but the call is not HTTP',
};
