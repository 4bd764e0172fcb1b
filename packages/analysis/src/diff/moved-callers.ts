/**
 * Finds the callers that reach a workload differently in two states: through a waypoint or directly, with mutual TLS or
 * in plain text. The results of their calls may differ even if the port itself does not change.
 */
import { memoize } from '@meshpass/identity';
import { gatewaysUseWaypoint } from '@meshpass/istio';
import { acceptsHbone, type CallerProxy, listCallerProxies } from '../caller-proxy.ts';
import { namespacesOf } from './callers.ts';
import type { Endpoint } from './endpoint.ts';
import { type Condition, NEVER, replaceTests, type Test } from './formula/condition.ts';
import { createSpace } from './formula/space.ts';
import { type PolicyIndex, serviceOf } from './policy-index.ts';
import { substitutePeer } from './through-waypoint.ts';
import type { UnknownPorts } from './unknown.ts';

const PROXIES: Readonly<Record<CallerProxy, string>> = {
  ambient: 'ambient mode',
  uncaptured: 'ambient mode',
  sidecar: 'a sidecar',
  'assumed sidecar': 'a sidecar',
  gateway: 'a gateway',
  none: 'no proxy',
};

/** Callers whose calls take a different path in each state. */
interface MovedCallers {
  /** The identity of the callers. Parts that are undefined may have any value. */
  readonly namespace?: string;
  readonly account?: string | undefined;
  /** The proxies that the callers have in each of the states. */
  readonly proxies: readonly [ReadonlySet<CallerProxy>, ReadonlySet<CallerProxy>];
  readonly reason: string;
}

type States = readonly [PolicyIndex, PolicyIndex];

/**
 * Lists the callers that are known in both states and whose proxies differ. If no Pod uses a ServiceAccount, it is
 * assumed to have the proxy that its Namespace implies.
 */
export function findMovedCallers([before, after]: States): readonly MovedCallers[] {
  const views = [before.view, after.view];
  return namespacesOf(views).flatMap((namespace) => {
    const accounts = new Set(views.flatMap((view) => view.podsIn(namespace).map((pod) => pod.serviceAccount)));
    return [undefined, ...accounts].flatMap((account) => {
      const found = views.map((view) => listCallerProxies(view, namespace, account));
      const [was, is] = found.map(({ proxies }) => namesOf(proxies)) as [ReadonlySet<string>, ReadonlySet<string>];
      const all = new Set([...was, ...is]);
      const isRead = was.size > 0 && is.size > 0;
      // If a Namespace only injects sidecars on request, adding a Pod to it does not change any existing caller.
      const isInvented = all.has(PROXIES.none) && account !== undefined && !found.every(({ isOfPods }) => isOfPods);
      if (!isRead || isInvented || (all.size === was.size && all.size === is.size)) return [];
      const [from, to] = [was, is].map((names) => [...names].join(' and '));
      const reason = `callers of namespace ${namespace} change from ${from} to ${to}, and this may change which of their calls are allowed`;
      return [{ namespace, account, proxies: [found[0]!.proxies, found[1]!.proxies] as const, reason }];
    });
  });
}

function namesOf(proxies: ReadonlySet<CallerProxy>): ReadonlySet<string> {
  return new Set([...proxies].map((one) => PROXIES[one]));
}

/** The path that a call takes to reach a port. */
type Way = 'waypoint' | 'pod' | 'plain';

/**
 * Lists the ports where the result of calls by moved callers and gateways depends on the path that the calls take. The
 * regular comparison of a port compares each path with itself. This also covers callers that switch paths, provided
 * that at least one state treats both paths alike.
 */
export function listMovedCallerPorts(
  endpoints: readonly Endpoint[],
  moved: readonly MovedCallers[],
  states: States,
  trustDomain: string,
): readonly UnknownPorts[] {
  const asPlain = memoize((one: Condition) => replaceTests(one, seenInPlain));
  const all = [
    ...moved.map((callers) => ({ callers, at: endpoints })),
    { callers: GATEWAYS, at: endpoints.filter((one) => movesGateways(one, states)) },
  ];
  const found = all.flatMap(({ callers, at }) => {
    const { proxies, reason, ...identity } = callers;
    const seen = (test: Test) => substitutePeer(test, { trustDomain, ...identity });
    const asPeer = memoize((one: Condition) => replaceTests(one, seen));
    return at.flatMap((endpoint) => {
      const [was, is] = states.map((state, index) => waysIn(state, endpoint, proxies[index]!)) as [Way[], Way[]];
      const changed = was.flatMap((from) => is.filter((to) => to !== from).map((to) => ({ from, to })));
      if (changed.length === 0) return [];
      const allowed = states.map((state) => allowedIn(state, endpoint, asPeer, asPlain));
      return [{ endpoint, reason, changed, allowed: allowed as [AllowedByWay, AllowedByWay] }];
    });
  });
  const space = createSpace(found.flatMap(({ allowed }) => allowed.flatMap((one) => [...one.values()])));
  const unequal = found.filter(({ changed, allowed: [was, is] }) => {
    const isSame = (ways: AllowedByWay, one: Way, other: Way) =>
      space.set(ways.get(one)!) === space.set(ways.get(other)!);
    const isCompared = ({ from, to }: (typeof changed)[number]) =>
      [...was.keys()].some((way) => isSame(was, way, from) && isSame(is, way, to));
    return !changed.every(isCompared);
  });
  return [...Map.groupBy(unequal, ({ reason }) => reason)].map(([reason, some]) => ({
    reason,
    where: [...new Set(some.map(({ endpoint }) => endpoint))],
  }));
}

/** Whether gateways call a Service through its waypoint in one state, but not in the other. */
function movesGateways({ through }: Endpoint, states: States): boolean {
  const services = states.flatMap(({ view }) => {
    const service = through && serviceOf(view, through);
    return service ? [gatewaysUseWaypoint(view, service)] : [];
  });
  return new Set(services).size > 1;
}

/** Gateways, which may switch between calling a Service's waypoint and calling its Pods directly. */
const GATEWAYS: MovedCallers = {
  proxies: [new Set(['gateway']), new Set(['gateway'])],
  reason:
    'gateways call its Service through the waypoint in one state only, and this may change which calls are allowed',
};

/** Lists the paths that calls may take if their callers have the given proxies. */
function waysIn(
  state: PolicyIndex,
  { workload, services, through }: Endpoint,
  proxies: ReadonlySet<CallerProxy>,
): readonly Way[] {
  const isAtSidecar = state.dataPlane().proxyOf(workload) === 'sidecar';
  // Sidecars that are not part of any Service are assumed to accept HBONE.
  const isPlain = services.length > 0 && isAtSidecar && !acceptsHbone(workload.labels);
  const ambient: readonly Way[] = [through ? 'waypoint' : 'pod', ...(isPlain ? (['plain'] as const) : [])];
  const ways: Readonly<Record<CallerProxy, readonly Way[]>> = {
    ambient,
    uncaptured: ambient,
    sidecar: ['pod'],
    'assumed sidecar': ['pod'],
    gateway: through ? ['waypoint', 'pod'] : ['pod'],
    none: ['pod', 'plain'],
  };
  return [...new Set([...proxies].flatMap((proxy) => ways[proxy]))];
}

type AllowedByWay = ReadonlyMap<Way, Condition>;

/**
 * Returns the calls that a port allows on each path. If a state has no waypoint, the path through the waypoint leads
 * directly to the Pod.
 */
function allowedIn(
  state: PolicyIndex,
  { workload, port, protocol, through }: Endpoint,
  asPeer: (allowed: Condition) => Condition,
  asPlain: (allowed: Condition) => Condition,
): AllowedByWay {
  const direct = state.at(workload, port, protocol).allowed;
  const byWaypoint = through && state.at(workload, port, protocol, through).allowed;
  return new Map<Way, Condition>([
    ['pod', asPeer(direct)],
    ['plain', asPlain(direct)],
    ...(byWaypoint ? [['waypoint', asPeer(byWaypoint)] as const] : []),
  ]);
}

/** Adapts a test to callers that use plain text and therefore have neither an identity nor an SNI. */
function seenInPlain(test: Test): Condition {
  if (test.op === 'flag' && test.field === 'peer') return NEVER;
  return test.op === 'text' && /^(?:peer\.|connection\.sni$)/.test(test.field) ? NEVER : test;
}
