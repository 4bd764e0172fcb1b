/**
 * What is let in at each port of each workload, by all policies of one state of a mesh. Formulas are made once for equal
 * sets of policies: two ports with the same key mean the same.
 */
import type { MeshConfig } from '../istio/mesh-config.ts';
import type { AuthorizationPolicy, PeerAuthentication, RequestAuthentication, Resource } from '../istio/resources.ts';
import { ALWAYS, all, any, type Condition, flag, NEVER, not } from './condition.ts';
import type { TrustDomains } from './peer-condition.ts';
import { looksAtPorts, type Place, portsNamed, ruleCondition } from './rule-condition.ts';
import { locationsOf, type TokenConditions, tokenConditions } from './token-condition.ts';
import { ofKind, type Protocol, selectorOf, selects, type Workload } from './workloads.ts';

export type MeshSettings = Pick<MeshConfig, 'rootNamespace' | keyof TrustDomains>;

/** What stands at one port of one workload. */
export interface Guarded {
  /** Equal where the same policies mean the same. */
  readonly key: string;
  readonly allowed: Condition;
  /** Policies that are enforced here, CUSTOM, DENY and ALLOW. */
  readonly policies: readonly EnforcedPolicy[];
}

/** Each rule as a formula, so that it can be told which one decides about a call. */
export interface EnforcedPolicy {
  readonly policy: AuthorizationPolicy;
  readonly rules: readonly Condition[];
}

export interface Rulebook {
  /** @param port of the pod; undefined for a port that nobody names */
  readonly at: (workload: Workload, port: number | undefined, protocol: Protocol) => Guarded;
  /** Ports that policies name, though no Service may. */
  readonly portsNamed: readonly number[];
  /** Where tokens are looked for on a workload. */
  readonly tokenLocations: (workload: Workload) => readonly string[];
}

type Policy = AuthorizationPolicy | RequestAuthentication | PeerAuthentication;

export function rulebook(resources: readonly Resource[], settings: MeshSettings): Rulebook {
  const authorization = scoped(ofKind(resources, 'AuthorizationPolicy').filter(isEnforced), settings);
  const request = scoped(ofKind(resources, 'RequestAuthentication').filter(isEnforced), settings);
  const peer = scoped(ofKind(resources, 'PeerAuthentication'), settings);
  const tokens = new Map<string, TokenConditions>();
  const known = new Map<string, Guarded>();
  const layers = new Map<string, Condition>();
  const enforced = new Map<string, EnforcedPolicy>();
  const numbers = new Map<Policy, number>();
  for (const resource of resources) numbers.set(resource as Policy, numbers.size);
  const idsOf = (policies: readonly Policy[]) => policies.map((one) => numbers.get(one)).join();

  const tokensAt = (policies: readonly RequestAuthentication[]): TokenConditions => {
    const key = idsOf(policies);
    let conditions = tokens.get(key);
    if (!conditions) {
      conditions = tokenConditions(policies.flatMap(({ spec }) => spec.jwtRules ?? []));
      tokens.set(key, conditions);
    }
    return conditions;
  };

  const at: Rulebook['at'] = (workload, port, protocol) => {
    const layered = authorization(workload);
    const policies = layered.flat();
    const forTokens = protocol === 'http' ? request(workload).flat() : [];
    const mode = mutualTls(peer(workload), port);
    const byPort = policies.some(looksAtPorts) ? port : undefined;
    const tokenKey = idsOf(forTokens);
    const key = [protocol, byPort ?? '', mode, tokenKey, idsOf(policies)].join('|');
    const before = known.get(key);
    if (before) return before;

    const { accepted, tolerable } = protocol === 'http' ? tokensAt(forTokens) : NO_TOKENS;
    const place: Place = { protocol, port, trust: settings, accepted };
    const enforce = (policy: AuthorizationPolicy): EnforcedPolicy => {
      const id = [numbers.get(policy), protocol, tokenKey, looksAtPorts(policy) ? port : ''].join('|');
      let one = enforced.get(id);
      if (!one) {
        one = { policy, rules: (policy.spec.rules ?? []).map((rule) => ruleCondition(rule, policy, place)) };
        enforced.set(id, one);
      }
      return one;
    };
    const matching = (some: readonly AuthorizationPolicy[]): Condition => {
      const id = [idsOf(some), protocol, tokenKey, some.some(looksAtPorts) ? port : ''].join('|');
      let layer = layers.get(id);
      if (!layer) {
        layer = any(some.map((policy) => any(enforce(policy).rules)));
        layers.set(id, layer);
      }
      return layer;
    };
    const byAction = (action: string) =>
      layered
        .map((some) => some.filter(({ spec }) => (spec.action ?? 'ALLOW') === action))
        .filter((some) => some.length > 0);
    const allowing = byAction('ALLOW');
    const allowed = all([
      PEERS[mode],
      tolerable,
      ...[...Map.groupBy(byAction('CUSTOM').flat(), ({ spec }) => spec.provider?.name ?? '')].map(([provider, some]) =>
        any([not(matching(some)), flag(`custom:${provider}`)]),
      ),
      not(any(byAction('DENY').map(matching))),
      allowing.length === 0 ? ALWAYS : any(allowing.map(matching)),
    ]);
    const guarded = { key, allowed, policies: policies.filter(({ spec }) => spec.action !== 'AUDIT').map(enforce) };
    known.set(key, guarded);
    return guarded;
  };
  return {
    at,
    portsNamed: [...new Set(ofKind(resources, 'AuthorizationPolicy').flatMap(portsNamed))].sort((a, b) => a - b),
    tokenLocations: (workload) =>
      locationsOf(
        request(workload)
          .flat()
          .flatMap(({ spec }) => spec.jwtRules ?? []),
      ),
  };
}

const NO_TOKENS: TokenConditions = { accepted: NEVER, tolerable: ALWAYS };

type Mode = 'STRICT' | 'PERMISSIVE' | 'DISABLE';
const PEERS: Readonly<Record<Mode, Condition>> = {
  STRICT: flag('peer'),
  PERMISSIVE: ALWAYS,
  DISABLE: not(flag('peer')),
};

/** Not those of a waypoint or gateway, nor those that only say what they would do. */
function isEnforced({ metadata, spec }: AuthorizationPolicy | RequestAuthentication): boolean {
  const elsewhere = spec.targetRef !== undefined || (spec.targetRefs?.length ?? 0) > 0;
  return !elsewhere && metadata.annotations?.['istio.io/dry-run'] !== 'true';
}

/** Policies of a workload in three layers, which many workloads share: of the mesh, of the namespace, its own. */
function scoped<P extends Policy>(policies: readonly P[], { rootNamespace }: MeshSettings) {
  const byNamespace = Map.groupBy(policies, ({ metadata }) => metadata.namespace);
  const split = new Map(
    [...byNamespace].map(([namespace, some]) => [
      namespace,
      { wide: some.filter((one) => !selectorOf(one)), own: some.filter((one) => selectorOf(one)) },
    ]),
  );
  const none = { wide: [] as P[], own: [] as P[] };
  const root = split.get(rootNamespace) ?? none;
  return ({ namespace, labels }: Workload): readonly [readonly P[], readonly P[], readonly P[]] => {
    const inside = namespace === rootNamespace ? none : (split.get(namespace) ?? none);
    const own = [...root.own, ...inside.own].filter((one) => selects(selectorOf(one)!, labels));
    return [root.wide, inside.wide, own];
  };
}

/** The nearest that says anything wins, on one level the oldest (Istio: "PeerAuthentication", precedence). */
function mutualTls([mesh, namespace, own]: readonly (readonly PeerAuthentication[])[], port: number | undefined): Mode {
  const said = (mode: string | undefined): Mode | undefined => (mode && mode !== 'UNSET' ? (mode as Mode) : undefined);
  const [nearest] = oldestFirst(own!);
  const ofPort = port === undefined ? undefined : nearest?.spec.portLevelMtls?.[String(port)]?.mode;
  const modes = [nearest, oldestFirst(namespace!)[0], oldestFirst(mesh!)[0]].map((one) => said(one?.spec.mtls?.mode));
  return said(ofPort) ?? modes.find((mode) => mode !== undefined) ?? 'PERMISSIVE';
}

function oldestFirst(policies: readonly PeerAuthentication[]): readonly PeerAuthentication[] {
  const age = ({ metadata }: PeerAuthentication) => `${metadata.creationTimestamp ?? ''} ${metadata.name}`;
  return policies.toSorted((a, b) => (age(a) < age(b) ? -1 : 1));
}
