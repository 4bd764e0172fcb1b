/**
 * Compares what anonymous callers outside the mesh can reach in two states, regardless of which kinds of objects route
 * their calls. For each destination, it subtracts the calls of one state from those of the other. Parts that formulas
 * cannot express are replaced by bounds: a change is only reported if it exists no matter what these parts mean.
 * Otherwise, the result is unknown.
 */
import { MeshpassError, memoize, terminalText } from '@meshpass/identity';
import { type Resource, withCreationTimes } from '@meshpass/istio';
import type { Call } from '../diff/formula/call.ts';
import { ALWAYS, any, type Condition, not, opaqueReason, testsOf, text } from '../diff/formula/condition.ts';
import { NONE, type Node, type Product } from '../diff/formula/diagram.ts';
import { createSpace, type Space } from '../diff/formula/space.ts';
import { describeEntry } from '../exposure/describe.ts';
import type { EntryPoint } from '../exposure/exposure.ts';
import { isNormal } from '../exposure/unauthenticated.ts';
import type { WitnessRequest } from '../exposure/witness.ts';
import { approximateCondition } from '../routes/opaque.ts';
import { describeOutsideCalls, formatWitness, witnessRequest } from './describe.ts';
import { computeOutsideReach, type OutsideDecision, type OutsideReach } from './outside.ts';
import { selectionChanges } from './pods-of.ts';

/** Calls that anonymous callers outside the mesh gain or lose. */
export interface OutsideChange {
  readonly kind: 'gains' | 'loses';
  /** The host and port of a Service or another destination, such as `orders.shop.svc.cluster.local:8080`. */
  readonly destination: string;
  /** A description of the calls, such as `GET /orders/* of shop.example.com`. */
  readonly what: string;
  /** A request that is allowed in only one of the states. */
  readonly witness: WitnessRequest;
  readonly before: OutsideDecision;
  readonly after: OutsideDecision;
}

export interface OutsideComparison {
  readonly changes: readonly OutsideChange[];
  /** Whether the list of changes is incomplete. */
  readonly more: boolean;
  /** The number of destinations that were compared. */
  readonly destinations: number;
  /** The destinations that may or may not have changed, with the reasons why this is unknown. */
  readonly unknown: readonly { readonly destination: string; readonly reasons: readonly string[] }[];
  /** The destinations that exist in both states but select different Pods or ports, with the settings that changed. */
  readonly moved: readonly { readonly destination: string; readonly changes: readonly string[] }[];
  /** The assumptions that were made about entry points because the objects do not fully determine them. */
  readonly assumed: readonly string[];
}

export interface OutsideOptions {
  readonly rootNamespace: string;
  /** The maximum number of changes to list for each destination and direction. Defaults to 5. */
  readonly listed?: number;
  /** The reason why some objects may not have been read. If set, all results are uncertain. */
  readonly unread?: string;
}

/**
 * Compares what anonymous callers outside the mesh can reach. They have neither a token nor a certificate, and call
 * from an address that no policy lists. All entry points are compared together, so it does not matter whether a
 * VirtualService, an HTTPRoute or an Ingress routes a call. If the result contains neither changes nor unknown
 * destinations, the two states are equivalent for such callers.
 * @param before the resources of the first state: routes, entry points, policies, Services and workloads
 * @param after the resources of the second state; objects that are in both states keep their creation time
 * @example
 * ```ts
 * import { compareOutside } from '@meshpass/analysis/diff';
 * import { loadManifests } from '@meshpass/istio';
 * const ingress = (path: string) => `{apiVersion: networking.k8s.io/v1, kind: Ingress, metadata: {name: shop, namespace: shop},
 *   spec: {ingressClassName: nginx, rules: [{host: shop.example.com, http: {paths: [
 *     {path: ${path}, pathType: Prefix, backend: {service: {name: orders, port: {number: 80}}}}]}}]}}`;
 * const before = loadManifests(ingress('/orders'), 'before.yaml').resources;
 * const after = loadManifests(ingress('/'), 'after.yaml').resources;
 * const [change] = compareOutside(before, after, { rootNamespace: 'istio-system' }).changes;
 * change!.kind; // => 'gains'
 * change!.witness.url; // => 'http://shop.example.com/x'
 * ```
 */
export function compareOutside(
  before: readonly Resource[],
  after: readonly Resource[],
  { rootNamespace, listed = 5, unread }: OutsideOptions,
): OutsideComparison {
  const states = [
    computeOutsideReach(before, rootNamespace),
    computeOutsideReach(withCreationTimes(after, before), rootNamespace),
  ] as const;
  const destinations = [...new Set(states.flatMap((state) => state.destinations))].sort();
  const contentOf = createConditionNumbering();
  const results = destinations.map((destination) => ({
    destination,
    ...compareDestination(states, destination, listed, unread, contentOf),
  }));
  const [was, is] = states;
  const moved = destinations.map((destination) => ({
    destination,
    changes: selectionChanges(was.selectionOf(destination), is.selectionOf(destination)),
  }));
  return {
    changes: results.flatMap((one) => one.changes),
    more: results.some((one) => one.more),
    destinations: destinations.length,
    unknown: results.flatMap(({ destination, reasons }) => (reasons.length > 0 ? [{ destination, reasons }] : [])),
    moved: moved.filter((one) => one.changes.length > 0),
    assumed: [...new Set(states.flatMap((state) => state.assumed))].sort(),
  };
}

interface Result {
  readonly changes: readonly OutsideChange[];
  readonly more: boolean;
  readonly reasons: readonly string[];
}

function compareDestination(
  states: readonly [OutsideReach, OutsideReach],
  destination: string,
  listed: number,
  unread: string | undefined,
  contentOf: (condition: Condition) => number,
): Result {
  const incomparable =
    unread ?? whyIncomparable(states, destination) ?? patchChanges(states.map((state) => state.patchesOf(destination)));
  if (incomparable !== undefined) return unknownBecause(incomparable);
  const [was, is] = states.map((state) => state.callsOf(destination)) as [Condition, Condition];
  const equal = { changes: [], more: false, reasons: certificateChanges(states, destination) };
  // Most destinations do not change. If the formulas are equal, there is no need to build decision diagrams.
  if (contentOf(was) === contentOf(is)) return equal;
  try {
    const found = subtract(states, destination, [was, is], listed);
    return found.changes.length + found.reasons.length > 0 ? found : equal;
  } catch (error) {
    if (error instanceof MeshpassError && error.code === 'policy_too_large') return unknownBecause(error.message);
    throw error;
  }
}

function unknownBecause(reason: string): Result {
  return { changes: [], more: false, reasons: [reason] };
}

/**
 * Explains why the states cannot be compared. The listeners of entry points that are not in the files are unknown, so
 * they can only be compared with each other.
 */
function whyIncomparable(states: readonly [OutsideReach, OutsideReach], destination: string): string | undefined {
  const entries = states.map((state) => state.entriesOf(destination));
  const absent = entries.flat().filter(({ object }) => !object);
  const isAbsent = (some: readonly EntryPoint[]) => some.some(({ object }) => !object);
  if (absent.length === 0 || entries.every(isAbsent) || entries.some((some) => some.length === 0)) return undefined;
  return `the listeners of ${[...new Set(absent.map(describeEntry))].join(', ')} are not known`;
}

/**
 * Finds an object that has changed but whose effect is not evaluated: an EnvoyFilter, an extension, a policy for
 * unknown Pods, a SecurityPolicy, or the mesh settings.
 */
function patchChanges(states: readonly ReadonlyMap<string, string>[]): string | undefined {
  const names = states.flatMap((state) => [...state.keys()]);
  const changed = names.find((name) => states.some((state) => state.get(name) !== states[0]!.get(name)));
  return changed && `${changed} may change what a proxy on the way accepts, and differs`;
}

/**
 * Lists the server names that require a client certificate in only one of the states. Formulas do not include server
 * names, so they do not show when a server without client certificates takes over a name from another server.
 */
function certificateChanges(states: readonly OutsideReach[], destination: string): readonly string[] {
  const names = states.map((state) => state.namesWithCertificate(destination));
  const changed = new Set(
    names.flatMap((some) => [...some].filter((name) => !names.every((other) => other.has(name)))),
  );
  return [...changed].map((name) => `only one state requires a client certificate for ${name}`);
}

function subtract(
  states: readonly [OutsideReach, OutsideReach],
  destination: string,
  [was, is]: readonly [Condition, Condition],
  listed: number,
): Result {
  const [wasSure, isSure] = [approximateCondition(was, false), approximateCondition(is, false)];
  const [wasPossible, isPossible] = [approximateCondition(was, true), approximateCondition(is, true)];
  const real = realHosts([was, is]);
  const space = createSpace([was, is, wasSure, wasPossible, isSure, isPossible, real]);
  const { diagram } = space;
  const set = (condition: Condition) => diagram.and(space.set(condition), space.set(real));
  const [wasSet, isSet] = [set(was), set(is)];
  if (wasSet === isSet) return { changes: [], more: false, reasons: [] };
  const gained = diagram.minus(set(isSure), set(wasPossible));
  const lost = diagram.minus(set(wasSure), set(isPossible));
  const gains = list(space, gained, 'gains', states, destination, listed);
  const losses = list(space, lost, 'loses', states, destination, listed);
  const differ = diagram.or(diagram.minus(isSet, wasSet), diagram.minus(wasSet, isSet));
  const rest = diagram.minus(differ, diagram.or(gained, lost));
  return {
    changes: [...gains.changes, ...losses.changes],
    more: gains.more || losses.more,
    reasons: reasonsOf(space, rest),
  };
}

/** Excludes host names with empty labels, which only matter if a pattern tests labels. */
function realHosts(conditions: readonly Condition[]): Condition {
  const seen = new Set<Condition>();
  const tests = conditions.flatMap((one) => [...testsOf(one, seen)]);
  const isTested = tests.some((one) => one.op === 'text' && one.field === 'host' && one.test.form === 'pattern');
  return isTested ? REAL_HOST : ALWAYS;
}

const REAL_HOST = not(
  any([
    text('host', { form: 'prefix', text: '.' }),
    text('host', { form: 'pattern', pieces: [{ any: 'text' }, { text: '..' }, { any: 'text' }] }),
  ]),
);

/** The maximum number of products to examine for reasons and readable examples. */
const MOST_PRODUCTS = 200;

function reasonsOf(space: Space, rest: Node): readonly string[] {
  const reasons = new Set<string>();
  let looked = 0;
  if (rest === NONE) return [];
  for (const product of space.diagram.products(rest)) {
    for (const { field } of space.explain(product)) {
      const reason = opaqueReason(field);
      if (reason !== undefined) reasons.add(reason);
    }
    if (++looked >= MOST_PRODUCTS) break;
  }
  return reasons.size > 0 ? [...reasons].sort() : ['a part of a match or policy is not understood'];
}

function list(
  space: Space,
  set: Node,
  kind: OutsideChange['kind'],
  states: readonly [OutsideReach, OutsideReach],
  destination: string,
  listed: number,
): { readonly changes: readonly OutsideChange[]; readonly more: boolean } {
  const found = new Map<string, OutsideChange>();
  if (set === NONE) return { changes: [], more: false };
  let looked = 0;
  for (const product of sendable(space, set)) {
    if (++looked > MOST_PRODUCTS) return { changes: [...found.values()], more: true };
    const call = simplest(space, set, space.example(product));
    const [before, after] = states.map((state) => state.decide(call, destination)) as [
      OutsideDecision,
      OutsideDecision,
    ];
    const key = `${before.reason}\n${after.reason}`;
    if (found.has(key)) continue;
    if (found.size >= listed) return { changes: [...found.values()], more: true };
    const explained = space.explain(product);
    const witness = witnessRequest(call, new Set(explained.map(({ field }) => field)));
    found.set(key, { kind, destination, what: describeOutsideCalls(explained), witness, before, after });
  }
  return { changes: [...found.values()], more: false };
}

/** Removes all headers and query parameters that a call does not need in order to stay in the set. */
function simplest({ has }: Space, set: Node, call: Call): Call {
  let simple = call;
  for (const field of call.texts.keys()) {
    if (!/^(?:header|query):/.test(field)) continue;
    const without = { ...simple, texts: new Map([...simple.texts].filter(([name]) => name !== field)) };
    if (has(set, without)) simple = without;
  }
  return simple;
}

/**
 * Yields the products, starting with those whose examples clients can send. Entry points would normalize the paths of
 * the others.
 */
function* sendable(space: Space, set: Node): Generator<Product> {
  const others: Product[] = [];
  let looked = 0;
  for (const product of space.diagram.products(set)) {
    if (isNormal(space.example(product))) yield product;
    else others.push(product);
    if (++looked > MOST_PRODUCTS) break;
  }
  yield* others;
}

/** Creates a function that numbers formulas by their content. Formulas that have the same number are equal. */
function createConditionNumbering(): (condition: Condition) => number {
  const numbers = new Map<string, number>();
  const numberOf = memoize((condition: Condition): number => {
    const content = textOf(condition);
    const number = numbers.get(content) ?? numbers.size;
    numbers.set(content, number);
    return number;
  });
  const textOf = (condition: Condition): string => {
    switch (condition.op) {
      case 'all':
      case 'any':
        return `${condition.op} ${condition.of.map(numberOf).join()}`;
      case 'not':
        return `not ${numberOf(condition.of)}`;
      default:
        return JSON.stringify(condition);
    }
  };
  return numberOf;
}

/**
 * Formats a change: the calls, their destination, an example request, and the reason for the decision in each state.
 * @example
 * ```ts
 * import { compareOutside, formatOutsideChange } from '@meshpass/analysis/diff';
 * import { loadManifests } from '@meshpass/istio';
 * const orders = `{apiVersion: v1, kind: Service, metadata: {name: orders, namespace: shop},
 *   spec: {type: LoadBalancer, selector: {app: orders}, ports: [{port: 80, name: http}]}}`;
 * const after = loadManifests(orders, 'after.yaml').resources;
 * const [change] = compareOutside([], after, { rootNamespace: 'istio-system' }).changes;
 * formatOutsideChange(change!).includes('for example GET http://HOST/'); // => true
 * ```
 */
export function formatOutsideChange({ kind, destination, what, witness, before, after }: OutsideChange): string {
  return terminalText([
    `anyone outside ${kind} ${what}, to ${destination}`,
    `  for example ${formatWitness(witness)}`,
    `  before: ${before.reason}`,
    `  after:  ${after.reason}`,
  ]);
}
