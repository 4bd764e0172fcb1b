/**
 * What is let in at each port of each workload, by all policies of one state of a mesh. Formulas are made once for equal
 * sets of policies: two ports with the same key mean the same.
 */
import { oldestFirst } from '../istio/age.ts';
import { actionOf, isDryRun } from '../istio/authorization-policy.ts';
import type { MeshConfig } from '../istio/mesh-config.ts';
import type { Resource } from '../istio/resources.ts';
import type { AuthorizationPolicy, JwtRule, PeerAuthentication, RequestAuthentication } from '../istio/security.ts';
import { ALWAYS, all, any, type Condition, flag, NEVER, not } from './condition.ts';
import type { TrustDomains } from './peer-condition.ts';
import { looksAtPorts, type Place, portsNamed, ruleCondition } from './rule-condition.ts';
import { type TokenConditions, tokenConditions } from './token-condition.ts';
import { ofKind, type Protocol, selectorOf, selects, type Workload } from './workloads.ts';

export type MeshSettings = Pick<MeshConfig, 'rootNamespace' | keyof TrustDomains> &
  Partial<Pick<MeshConfig, 'caTrustDomains'>>;

/** What stands at one port of one workload. */
export interface Guarded {
  /** Equal where the same policies mean the same. */
  readonly key: string;
  readonly allowed: Condition;
  /** Policies that are enforced here, CUSTOM, DENY and ALLOW. */
  readonly policies: () => readonly EnforcedPolicy[];
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
}

type Policy = AuthorizationPolicy | RequestAuthentication | PeerAuthentication;

export function rulebook(resources: readonly Resource[], settings: MeshSettings): Rulebook {
  const authorization = scoped(
    ofKind(resources, 'AuthorizationPolicy').filter((one) => !isDryRun(one) && !isElsewhere(one)),
    settings,
  );
  const request = scoped(
    ofKind(resources, 'RequestAuthentication').filter((one) => !isElsewhere(one)),
    settings,
  );
  const peer = scoped(ofKind(resources, 'PeerAuthentication'), settings);
  const once = memory();
  const numbers = new Map<Policy, number>();
  for (const resource of resources) numbers.set(resource as Policy, numbers.size);
  const ids = new WeakMap<readonly Policy[], string>();
  /** Layers of the mesh and of a namespace are the same array for every workload. */
  const idOf = (policies: readonly Policy[]): string => {
    let id = ids.get(policies);
    if (id === undefined) {
      id = policies.map((one) => numbers.get(one)).join();
      ids.set(policies, id);
    }
    return id;
  };
  const idsOf = (layers: Layers<Policy>): string => layers.map(idOf).join(';');
  const byPort = new WeakMap<readonly AuthorizationPolicy[], boolean>();
  const dependsOnPort = (layer: readonly AuthorizationPolicy[]): boolean => {
    let depends = byPort.get(layer);
    if (depends === undefined) {
      depends = layer.some(looksAtPorts);
      byPort.set(layer, depends);
    }
    return depends;
  };

  const at: Rulebook['at'] = (workload, port, protocol) => {
    const layers = authorization(workload);
    const requests = protocol === 'http' ? request(workload) : NO_LAYERS;
    const mode = mutualTls(peer(workload), port);
    const tokenKey = idsOf(requests);
    const portOf = (some: readonly AuthorizationPolicy[]) => (dependsOnPort(some) ? (port ?? 'other') : '');
    const key = [protocol, layers.map(portOf).join(), mode, tokenKey, idsOf(layers)].join('|');
    return once(`at ${key}`, (): Guarded => {
      const { accepted, tolerable } =
        protocol === 'tcp' ? NO_TOKENS : once(`tokens ${tokenKey}`, () => tokenConditions(jwtRules(requests)));
      const place: Place = { protocol, port, trust: settings, accepted };
      const rulesOf = (policy: AuthorizationPolicy): readonly Condition[] => {
        const id = `rules ${numbers.get(policy)}|${protocol}|${tokenKey}|${looksAtPorts(policy) ? (port ?? 'other') : ''}`;
        return once(id, () => (policy.spec.rules ?? []).map((rule) => ruleCondition(rule, policy, place)));
      };
      /** By layers, which many workloads share: each is one formula for all of them. */
      const matching = (action: string): readonly Condition[] =>
        layers.flatMap((layer) => {
          const id = `layer ${action}|${idOf(layer)}|${protocol}|${tokenKey}|${portOf(layer)}`;
          const some = once(id, () => layer.filter((policy) => actionOf(policy) === action));
          return some.length === 0 ? [] : [once(`any ${id}`, () => any(some.map((policy) => any(rulesOf(policy)))))];
        });
      const allowing = matching('ALLOW');
      const providers = Map.groupBy(
        layers.flat().filter((policy) => actionOf(policy) === 'CUSTOM'),
        ({ spec }) => spec.provider?.name ?? '',
      );
      const allowed = all([
        PEERS[mode],
        tolerable,
        ...[...providers].map(([provider, some]) =>
          any([not(any(some.map((policy) => any(rulesOf(policy))))), flag(`custom:${provider}`)]),
        ),
        not(any(matching('DENY'))),
        allowing.length === 0 ? ALWAYS : any(allowing),
      ]);
      const enforced = layers.flat().filter((policy) => actionOf(policy) !== 'AUDIT');
      return { key, allowed, policies: () => enforced.map((policy) => ({ policy, rules: rulesOf(policy) })) };
    });
  };
  return {
    at,
    portsNamed: [...new Set(ofKind(resources, 'AuthorizationPolicy').flatMap(portsNamed))].sort((a, b) => a - b),
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

/** Of the mesh, of the namespace, of the workload alone. */
type Layers<P> = readonly [readonly P[], readonly P[], readonly P[]];
const EMPTY: readonly never[] = [];
const NO_LAYERS: Layers<never> = [EMPTY, EMPTY, EMPTY];

const NO_TOKENS: TokenConditions = { accepted: NEVER, tolerable: ALWAYS };

type Mode = 'STRICT' | 'PERMISSIVE' | 'DISABLE';
const PEERS: Readonly<Record<Mode, Condition>> = {
  STRICT: flag('peer'),
  PERMISSIVE: ALWAYS,
  DISABLE: not(flag('peer')),
};

/** Those of a waypoint or gateway. */
function isElsewhere({ spec }: AuthorizationPolicy | RequestAuthentication): boolean {
  return spec.targetRef !== undefined || (spec.targetRefs?.length ?? 0) > 0;
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
  const none = { wide: EMPTY as readonly P[], own: EMPTY as readonly P[] };
  const root = split.get(rootNamespace) ?? none;
  const known = new WeakMap<Workload, Layers<P>>();
  const find = ({ namespace, labels }: Workload): Layers<P> => {
    const inside = namespace === rootNamespace ? none : (split.get(namespace) ?? none);
    const candidates = root.own.length === 0 ? inside.own : [...root.own, ...inside.own];
    const own = candidates.length === 0 ? EMPTY : candidates.filter((one) => selects(selectorOf(one)!, labels));
    return [root.wide, inside.wide, own];
  };
  return (workload: Workload): Layers<P> => {
    let layers = known.get(workload);
    if (!layers) {
      layers = find(workload);
      known.set(workload, layers);
    }
    return layers;
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
