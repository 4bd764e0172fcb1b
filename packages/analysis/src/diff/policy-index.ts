/**
 * What is let in at each port of each workload, by all policies of one state of a mesh. Formulas are made once for equal
 * sets of policies: two ports with the same key mean the same.
 */

import {
  type AuthorizationPolicy,
  actionOf,
  attachedLayers,
  type CustomEffect,
  customEffects,
  DEFAULT_MESH_CONFIG,
  isDryRun,
  type JwtRule,
  type Layers,
  type MeshSettings,
  peerModesOf,
  providerOf,
  type RequestAuthentication,
  type Resource,
  viewMesh,
  type Workload,
  type WorkloadPort,
  workloadPorts,
} from '@meshpass/istio';
import { ALWAYS, all, any, type Condition, flag, NEVER, not } from './formula/condition.ts';
import { looksAtPorts, type Place, portsNamed, ruleCondition } from './rule-condition.ts';
import { type TokenConditions, type TokenPlaces, tokenConditions, tokenPlaces } from './token-condition.ts';
import type { Protocol } from './workloads.ts';

/** What stands at one port of one workload. */
export interface PortPolicy {
  /** Equal where the same policies mean the same. */
  readonly key: string;
  readonly allowed: Condition;
  /** Policies that are enforced here, CUSTOM, DENY and ALLOW. */
  readonly policies: () => readonly EnforcedPolicy[];
  /**
   * The port takes no mutual TLS: sidecars that call it send plain text, and come as nobody. Who insists on TLS, as workspaces do, is
   * not understood there.
   */
  readonly plain?: boolean;
  /** Why nothing is let in, whatever policies say. */
  readonly closed?: string;
}

/** Each rule as a formula, so that it can be told which one decides about a call. */
export interface EnforcedPolicy {
  readonly policy: AuthorizationPolicy;
  readonly rules: readonly Condition[];
  /** A CUSTOM policy whose authorizer is not asked: whom it matches is refused. */
  readonly refuses: boolean;
}

export interface PolicyIndex {
  /**
   * @param port of the pod; undefined for a port that nobody names
   * @param spoken by the client: what a port is declared to speak decides which rules it meets, and where it declares nothing, this does
   */
  readonly at: (workload: Workload, port: number | undefined, spoken: Protocol) => PortPolicy;
  /** Ports to which Services lead in this state. */
  readonly portsOf: (workload: Workload) => ReadonlyMap<number, WorkloadPort>;
  /** Ports that policies name, though no Service may. */
  readonly portsNamed: readonly number[];
}

type Policy = AuthorizationPolicy | RequestAuthentication;

/** @param places where tokens stand, of all states that are compared */
export function indexPolicies(
  resources: readonly Resource[],
  settings: MeshSettings,
  places: TokenPlaces = tokenPlaces(resources),
): PolicyIndex {
  const view = viewMesh(resources, { ...DEFAULT_MESH_CONFIG, rootNamespace: settings.rootNamespace });
  const { rootNamespace } = settings;
  // A dry run of CUSTOM may refuse all the same.
  const enforced = view.all('AuthorizationPolicy').filter((one) => !isDryRun(one) || actionOf(one) === 'CUSTOM');
  const authorization = remembered(attachedLayers(enforced, rootNamespace, view.proxyKind));
  const request = remembered(attachedLayers(view.all('RequestAuthentication'), rootNamespace, view.proxyKind));
  const peersOf = remembered((one: Workload) => peerModesOf(view, { ...one, kind: view.proxyKind(one.labels) }));
  const portsOf = remembered((one: Workload) => workloadPorts(view, settings, one));
  const once = memory();
  const numbers = new Map<Policy, number>();
  for (const resource of resources) numbers.set(resource as Policy, numbers.size);
  const listed = new Map<string, number>();
  /** Short, and the same for the same policies. Layers of the mesh and of a namespace are the same array for every workload. */
  const idOf = remembered((policies: readonly Policy[]): number => {
    const names = policies.map((one) => numbers.get(one)).join();
    const id = listed.get(names) ?? listed.size;
    listed.set(names, id);
    return id;
  });
  const idsOf = (layers: Layers<Policy>): string => layers.map(idOf).join(';');
  const namesPorts = remembered(looksAtPorts);
  const dependsOnPort = remembered((layer: readonly AuthorizationPolicy[]) => layer.some(namesPorts));

  const at: PolicyIndex['at'] = (workload, port, spoken) => {
    const declared = port === undefined ? undefined : portsOf(workload).get(port)?.protocol;
    if (declared === 'http' && spoken === 'tcp') return NOT_HTTP;
    const protocol = declared === 'tcp' ? 'tcp' : spoken;
    const layers = authorization(workload);
    const requests = protocol === 'http' ? request(workload) : NO_LAYERS;
    const modes = peersOf(workload);
    const { mode } = (port === undefined ? undefined : modes.ports.get(port)) ?? modes.general;
    const tokenKey = idsOf(requests);
    const portOf = (some: readonly AuthorizationPolicy[]) => (dependsOnPort(some) ? (port ?? 'other') : '');
    const key = [protocol, layers.map(portOf).join(), mode, tokenKey, idsOf(layers)].join('|');
    return once(`at ${key}`, (): PortPolicy => {
      const { accepted, tolerable } =
        protocol === 'tcp' ? NO_TOKENS : once(`tokens ${tokenKey}`, () => tokenConditions(jwtRules(requests), places));
      const plain = mode === 'DISABLE';
      const place: Place = { protocol, port, trust: settings, accepted, plain };
      // Envoy asks authorizers before it has looked at tokens (pilot/pkg/networking/core/listener_builder.go).
      const early: Place = { ...place, accepted: NEVER };
      const placeOf = (policy: AuthorizationPolicy) => (actionOf(policy) === 'CUSTOM' ? early : place);
      const rulesOf = (policy: AuthorizationPolicy): readonly Condition[] => {
        const id = `rules ${numbers.get(policy)}|${protocol}|${tokenKey}|${namesPorts(policy) ? (port ?? 'other') : ''}|${plain}`;
        return once(id, () => (policy.spec.rules ?? []).map((rule) => ruleCondition(rule, policy, placeOf(policy))));
      };
      /** By layers, which many workloads share: each is one formula for all of them. */
      const matching = (action: string): readonly Condition[] =>
        layers.flatMap((layer) => {
          const id = `layer ${action}|${idOf(layer)}|${protocol}|${tokenKey}|${portOf(layer)}|${plain}`;
          const some = once(id, () => layer.filter((policy) => actionOf(policy) === action));
          return some.length === 0 ? [] : [once(`any ${id}`, () => any(some.map((policy) => any(rulesOf(policy)))))];
        });
      const allowing = matching('ALLOW');
      const customs = layers.flat().filter((policy) => actionOf(policy) === 'CUSTOM');
      const effectOf = customEffects(customs, settings.authorizers, protocol);
      const customOf = (effect: CustomEffect) => customs.filter((policy) => effectOf(policy) === effect);
      const matched = (some: readonly AuthorizationPolicy[]) => any(some.map((policy) => any(rulesOf(policy))));
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
          // Most are asked for a few of hundreds of policies.
          get rules() {
            return rulesOf(policy);
          },
          refuses: actionOf(policy) === 'CUSTOM' && effectOf(policy) === 'refused',
        }));
      return { key, allowed, policies, plain };
    });
  };
  return {
    at,
    portsOf,
    portsNamed: [
      ...new Set([
        ...view.all('AuthorizationPolicy').flatMap(portsNamed),
        ...view.all('PeerAuthentication').flatMap(({ spec }) => Object.keys(spec.portLevelMtls ?? {}).map(Number)),
      ]),
    ].sort((a, b) => a - b),
  };
}

function memory() {
  const known = new Map<string, unknown>();
  return <T>(key: string, make: () => T): T => {
    if (!known.has(key)) known.set(key, make());
    return known.get(key) as T;
  };
}

function jwtRules(layers: Layers<RequestAuthentication>): readonly JwtRule[] {
  return layers.flat().flatMap(({ spec }) => spec.jwtRules ?? []);
}

const NO_LAYERS: Layers<never> = [[], [], []];

const NO_TOKENS: TokenConditions = { accepted: NEVER, tolerable: ALWAYS };

const NOT_HTTP: PortPolicy = {
  ...{ key: 'not-http', allowed: NEVER, policies: () => [] },
  closed: 'the port is declared to speak HTTP, and this is none',
};

function remembered<Key extends object, T>(make: (key: Key) => T): (key: Key) => T {
  const known = new WeakMap<Key, T>();
  return (key) => {
    let value = known.get(key);
    if (value === undefined) {
      value = make(key);
      known.set(key, value);
    }
    return value;
  };
}
