/**
 * Two states of a mesh's policies, compared by what they mean: for every port of every workload, the calls that one lets in
 * and the other does not. Exact: sets of calls are subtracted as formulas, and each difference comes with a call that proves
 * it; without a difference there is no such call.
 */

import { type MeshSettings, type Resource, trustedPeerDomains, withCreationTimes } from '@meshpass/istio';
import { type Decision, explainDecision } from './decision.ts';
import { type Description, describe, formatCall } from './describe.ts';
import { type Endpoint, endpointsOf, formatWhere, type Pair, pairUp } from './endpoint.ts';
import type { Call } from './formula/call.ts';
import { all, any, type Condition, flag, not, text } from './formula/condition.ts';
import { NONE, type Node, type Product } from './formula/diagram.ts';
import { createSpace, type Space } from './formula/space.ts';
import { indexPolicies, type PolicyIndex } from './policy-index.ts';
import { tokenPlaces } from './token-condition.ts';
import { dataPlanes, type UnknownPorts, unknownPorts } from './unknown.ts';

export interface Change extends Description {
  readonly kind: 'gains' | 'loses';
  /** Where it is the same change. */
  readonly where: readonly Endpoint[];
  /** A call that proves it. */
  readonly example: Call;
  readonly before: Decision;
  readonly after: Decision;
}

export interface Comparison {
  readonly changes: readonly Change[];
  /** There are more changes than are listed. */
  readonly more: boolean;
  /** Ports that were compared. */
  readonly endpoints: number;
  /** Of which nothing is said, though something differs there. */
  readonly unknown: readonly UnknownPorts[];
  /** Namespaces whose Pods are taken to have a sidecar. */
  readonly assumed: readonly string[];
}

export interface CompareOptions {
  /** Changes listed for the same two sets of policies. Default: 20. */
  readonly listed?: number;
  /** Why not everything was read of the states: nothing is said of any port then. */
  readonly unread?: string;
}

/** Calls that exist: without mutual TLS there is no SNI to be seen, and with it the peer is of a domain that the mesh trusts. */
export function realCalls(settings: MeshSettings): Condition {
  return any([
    all([
      flag('peer'),
      any(trustedPeerDomains(settings).map((domain) => text('peer.trustDomain', { form: 'exact', text: domain }))),
    ]),
    all([not(flag('peer')), not(text('connection.sni', { form: 'present' }))]),
  ]);
}

/** Products of a set that hold a real call, each with one. What is real goes without saying, so products are not cut by it. */
export function* realProducts(
  space: Space,
  set: Node,
  real: Condition,
): Generator<{ product: Product; example: Call }> {
  const { diagram } = space;
  for (const product of diagram.products(set)) {
    const [one] = diagram.products(diagram.and(diagram.ofProduct(product), space.set(real)));
    if (one) yield { product, example: space.example(one) };
  }
}

/**
 * Compares two states of a mesh by the calls that they allow. Exact: without a change in the answer there is no call that one state
 * allows and the other does not, but for the ports in `unknown`.
 * @param before resources of one state: policies, and whatever is known of Services and workloads
 * @param after of the other; objects that are in both keep their age
 * @throws MeshpassError `policy_too_large`
 * @example
 * ```ts
 * import { compareMeaning } from '@meshpass/analysis/diff';
 * import { DEFAULT_MESH_CONFIG, loadManifests } from '@meshpass/istio';
 * const orders = `{apiVersion: v1, kind: Service, metadata: {name: orders, namespace: shop},
 *   spec: {selector: {app: orders}, ports: [{port: 80, name: http}]}}`;
 * const policy = `{apiVersion: security.istio.io/v1, kind: AuthorizationPolicy, metadata: {name: orders, namespace: shop},
 *   spec: {rules: [{from: [{source: {namespaces: [web]}}]}]}}`;
 * const before = loadManifests(orders, 'before.yaml').resources;
 * const after = loadManifests(`${orders}\n---\n${policy}`, 'after.yaml').resources;
 * const { changes } = compareMeaning(before, after, DEFAULT_MESH_CONFIG);
 * changes.every(({ kind }) => kind === 'loses'); // => true
 * ```
 */
export function compareMeaning(
  before: readonly Resource[],
  after: readonly Resource[],
  settings: MeshSettings,
  options: CompareOptions = {},
): Comparison {
  // What is there already is updated by applying, and keeps its age.
  const applied = withCreationTimes(after, before);
  const indexes = indexStates(before, applied, settings);
  const endpoints = endpointsOf([...before, ...applied], indexes, settings);
  const states = [before, applied] as const;
  const known = dataPlanes(states, settings.rootNamespace, options.unread);
  const understood = endpoints.filter((one) => known.unknownAt(one) === undefined);
  const pairs = pairUp(understood, indexes);
  const conditions = pairs.flatMap(({ portPolicies }) => portPolicies.map(({ allowed }) => allowed));
  const real = realCalls(settings);
  const space = createSpace([...conditions, real]);
  const changes: Change[] = [];
  let more = false;
  for (const pair of pairs) {
    const [was, is] = pair.portPolicies.map(({ allowed }) => space.set(allowed)) as [Node, Node];
    if (was === is) continue;
    for (const [kind, from, to] of [
      ['gains', is, was],
      ['loses', was, is],
    ] as const) {
      const listed = listChanges(space, space.diagram.minus(from, to), kind, pair, real, options.listed ?? 20);
      changes.push(...listed.changes);
      more ||= listed.more;
    }
  }
  return {
    ...{ changes, more, endpoints: understood.length, assumed: known.assumed(understood) },
    unknown: unknownPorts(endpoints, known, states, settings.rootNamespace),
  };
}

/** Both states, so that the same call means the same to each. */
export function indexStates(
  before: readonly Resource[],
  after: readonly Resource[],
  settings: MeshSettings,
): readonly [PolicyIndex, PolicyIndex] {
  const places = tokenPlaces([...before, ...after]);
  return [indexPolicies(before, settings, places), indexPolicies(after, settings, places)];
}

/**
 * A change as text: who gains or loses what and where, with an example call and the deciding rule before and after.
 * @example
 * ```ts
 * import { compareMeaning, formatChange } from '@meshpass/analysis/diff';
 * import { DEFAULT_MESH_CONFIG, loadManifests } from '@meshpass/istio';
 * const policy = `{apiVersion: security.istio.io/v1, kind: AuthorizationPolicy, metadata: {name: orders, namespace: shop},
 *   spec: {rules: [{from: [{source: {namespaces: [web]}}]}]}}`;
 * const after = loadManifests(policy, 'after.yaml').resources;
 * const [change] = compareMeaning([], after, DEFAULT_MESH_CONFIG).changes;
 * formatChange(change!).includes('before: no policy denies it'); // => true
 * ```
 */
export function formatChange({
  kind,
  who,
  what,
  circumstances,
  where,
  example,
  before,
  after,
  matters,
}: Change): string {
  const verb = who.startsWith('every') ? kind : kind.slice(0, -1);
  const tcp = where[0]?.protocol === 'tcp';
  const call = tcp && what === 'every call' ? 'connections' : what;
  const lines = [
    `${who} ${verb} ${call} on ${formatWhere(where)}${circumstances ? `, ${circumstances}` : ''}`,
    `  for example ${formatCall(example, where[0]?.protocol ?? 'http', matters)}`,
    `  before: ${before.reason}`,
    `  after:  ${after.reason}`,
  ];
  return lines.join('\n');
}

function listChanges(
  space: Space,
  set: Node,
  kind: Change['kind'],
  { portPolicies, where }: Pair,
  real: Condition,
  most: number,
) {
  const changes: Change[] = [];
  if (set === NONE) return { changes, more: false };
  for (const { product, example } of realProducts(space, set, real)) {
    if (changes.length >= most) return { changes, more: true };
    const [before, after] = portPolicies.map((portPolicy) => explainDecision(portPolicy, example)) as [
      Decision,
      Decision,
    ];
    changes.push({ kind, where, ...describe(space.explain(product)), example, before, after });
  }
  return { changes, more: false };
}
