/**
 * Compares the meaning of the policies in two states of a mesh. For every port of every workload, it finds the calls
 * that one state allows and the other does not. The comparison is exact: it subtracts sets of calls that are
 * represented as formulas, and each difference includes a call that proves it. If it finds no difference, no such call
 * exists.
 */

import { terminalText } from '@meshpass/identity';
import { type MeshSettings, type Resource, trustedPeerDomains, withCreationTimes } from '@meshpass/istio';
import { countedCallers } from './callers.ts';
import { type Decision, explainDecision } from './decision.ts';
import { type Description, describeProduct, formatCall } from './describe.ts';
import { type Endpoint, endpointsOf, formatWhere, type Pair, pairUp } from './endpoint.ts';
import type { Call } from './formula/call.ts';
import { all, any, type Condition, flag, not, text } from './formula/condition.ts';
import { NONE, type Node, type Product } from './formula/diagram.ts';
import { createSpace, type Space } from './formula/space.ts';
import { findMovedCallers, listMovedCallerPorts } from './moved-callers.ts';
import { indexPolicies, type PolicyIndex } from './policy-index.ts';
import { tokenLocations } from './token-condition.ts';
import { assumedSidecarNamespaces, type UnknownPorts, unknownPorts, whyUnknown } from './unknown.ts';

export interface Change extends Description {
  readonly kind: 'gains' | 'loses';
  /** The ports that are affected by this change. */
  readonly where: readonly Endpoint[];
  /** An example of a call that is allowed in only one of the states. */
  readonly example: Call;
  readonly before: Decision;
  readonly after: Decision;
}

export interface Comparison {
  readonly changes: readonly Change[];
  /** Whether the list of changes is incomplete. */
  readonly more: boolean;
  /** The number of ports that were compared, excluding the ones in `unknown`. */
  readonly endpoints: number;
  /** The ports for which it is unknown how the differences affect calls. */
  readonly unknown: readonly UnknownPorts[];
  /** The namespaces whose Pods are assumed to have a sidecar. */
  readonly assumed: readonly string[];
}

export interface CompareOptions {
  /** The maximum number of changes to list for each pair of policy sets. Defaults to 20. */
  readonly listed?: number;
  /** The reason why some policies may not have been read. If set, the result is unknown for every port. */
  readonly unread?: string;
}

/**
 * Returns the condition that every possible call satisfies. Calls without mutual TLS have no visible SNI. In calls with
 * mutual TLS, the peer belongs to one of the mesh's trust domains.
 */
export function possibleCalls(settings: MeshSettings): Condition {
  return any([
    all([
      flag('peer'),
      any(trustedPeerDomains(settings).map((domain) => text('peer.trustDomain', { form: 'exact', text: domain }))),
    ]),
    all([not(flag('peer')), not(text('connection.sni', { form: 'present' }))]),
  ]);
}

/**
 * Yields the products of a set that contain at least one possible call, each with an example. The products themselves
 * are not limited to possible calls, so that descriptions do not have to state this obvious condition.
 */
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
 * Compares two states of a mesh by the calls that they allow. The result is exact: if it contains no changes, every
 * call is allowed in both states or in neither, except on the ports in `unknown`.
 * @param before the resources of the first state: its policies, and all known Services and workloads
 * @param after the resources of the second state; objects that are in both states keep their creation time
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
  // An object keeps its creation time when it is applied again.
  const applied = withCreationTimes(after, before);
  const indexes = indexStates(before, applied, settings);
  const endpoints = endpointsOf([...before, ...applied], indexes, settings);
  const { unread } = options;
  const understood = endpoints.filter((one) => (unread ?? whyUnknown(indexes, one)) === undefined);
  const pairs = pairUp(understood, indexes);
  const moved = findMovedCallers(indexes);
  const callers = pairs.map((pair) => ({
    pair,
    gains: countedCallers(pair, 'gains', indexes[1]),
    loses: countedCallers(pair, 'loses', indexes[1]),
  }));
  const conditions = callers.flatMap(({ pair, gains, loses }) => [
    ...pair.portPolicies.map(({ allowed }) => allowed),
    ...[gains, loses].flatMap(({ counted, shown }) => [counted, shown]),
  ]);
  const real = possibleCalls(settings);
  const space = createSpace([...conditions, real]);
  const changes: Change[] = [];
  let more = false;
  for (const { pair, ...counting } of callers) {
    const [was, is] = pair.portPolicies.map(({ allowed }) => space.set(allowed)) as [Node, Node];
    if (was === is) continue;
    for (const [kind, from, to] of [
      ['gains', is, was],
      ['loses', was, is],
    ] as const) {
      const { counted, shown } = counting[kind];
      const set = space.diagram.and(space.diagram.minus(from, to), space.set(counted));
      const listed = listChanges(space, set, kind, pair, all([real, shown]), options.listed ?? 20);
      changes.push(...listed.changes);
      more ||= listed.more;
    }
  }
  const unknown = [
    ...unknownPorts(endpoints, pairs, indexes, unread, moved.length > 0),
    ...listMovedCallerPorts(understood, moved, indexes, settings.trustDomain),
  ];
  const left = new Set(unknown.flatMap(({ where }) => where));
  const compared = understood.filter((one) => !left.has(one));
  return { changes, more, endpoints: compared.length, assumed: assumedSidecarNamespaces(indexes, understood), unknown };
}

/** Indexes both states together, so that a call has the same meaning in each of them. */
export function indexStates(
  before: readonly Resource[],
  after: readonly Resource[],
  settings: MeshSettings,
): readonly [PolicyIndex, PolicyIndex] {
  const places = tokenLocations([...before, ...after]);
  return [indexPolicies(before, settings, places), indexPolicies(after, settings, places)];
}

/**
 * Formats a change: the callers, the calls that they gain or lose and at which ports, an example, and the rules that
 * decide the example before and after the change.
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
  return terminalText(lines);
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
    changes.push({ kind, where, ...describeProduct(space.explain(product)), example, before, after });
  }
  return { changes, more: false };
}
