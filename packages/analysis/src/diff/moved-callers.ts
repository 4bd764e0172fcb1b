/**
 * Callers whose way differs between two states: through a waypoint or straight to a Pod, with mutual TLS or in plain text.
 * Their calls may be decided differently even if nothing changes at the port.
 */
import { remembered } from '@meshpass/identity/memory/remembered';
import { anyPod, gatewaysUseWaypoint, type MeshView, type PodFacts, type ProxyKind, proxyOfPod } from '@meshpass/istio';
import type { Endpoint } from './endpoint.ts';
import { ALWAYS, type Condition, NEVER, replaceTests, type Test } from './formula/condition.ts';
import { createSpace } from './formula/space.ts';
import { passes } from './formula/text-test.ts';
import { type PolicyIndex, serviceOf } from './policy-index.ts';
import type { UnknownPorts } from './unknown.ts';

type CallerProxy = 'ambient' | 'sidecar' | 'gateway' | 'none';

const PROXIES: Readonly<Record<CallerProxy, string>> = {
  ambient: 'ambient mode',
  sidecar: 'a sidecar',
  gateway: 'a gateway',
  none: 'no proxy',
};

/** Identity of callers. Absent parts may be any. */
interface Identity {
  readonly namespace?: string;
  readonly account?: string;
}

/** Callers with their proxies in each state. */
interface MovedCallers {
  readonly identity: Identity;
  readonly proxies: readonly [ReadonlySet<CallerProxy>, ReadonlySet<CallerProxy>];
  readonly reason: string;
}

type States = readonly [PolicyIndex, PolicyIndex];

/**
 * Lists callers of which something was read in both states, and whose proxies differ. A ServiceAccount without Pods has
 * the proxy of its Namespace.
 */
export function movedCallers([before, after]: States): readonly MovedCallers[] {
  const views = [before.view, after.view];
  const names = new Set(
    views.flatMap((view) => [
      ...view.all('Namespace').map(({ metadata }) => metadata.name),
      ...view.pods.map(({ namespace }) => namespace),
    ]),
  );
  return [...names].sort().flatMap((namespace) => {
    const accounts = new Set(views.flatMap((view) => view.podsIn(namespace).map((pod) => pod.serviceAccount)));
    return [undefined, ...accounts].flatMap((account) => {
      const [was, is] = views.map((view) => proxiesOf(view, namespace, account)) as [Proxies, Proxies];
      if (!isMoved(was, is)) return [];
      const identity = { namespace, ...(account !== undefined && { account }) };
      const reason = `callers of namespace ${namespace} change from ${list(was.found)} to ${list(is.found)}, and this may change which of their calls are allowed`;
      return [{ identity, proxies: [was.found, is.found], reason }];
    });
  });
}

/** Way of a call to a port. */
type Way = 'waypoint' | 'pod' | 'plain';

/**
 * Lists the ports that decide calls of moved callers by their way. The comparison of a port compares each way with
 * itself, which covers callers that change from one way to another if one of the states decides both alike.
 */
export function portsOfMoved(
  endpoints: readonly Endpoint[],
  moved: readonly MovedCallers[],
  states: States,
  trustDomain: string,
): readonly UnknownPorts[] {
  const asPlain = remembered((one: Condition) => replaceTests(one, seenInPlain));
  const found = moved.flatMap(({ proxies, reason, identity }) => {
    const asPeer = remembered((one: Condition) => replaceTests(one, (test) => seenOf(test, identity, trustDomain)));
    return endpoints.flatMap((endpoint) => {
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

/** Lists Services that gateways call through the waypoint in one state and not in the other. */
export function movedGateways(endpoints: readonly Endpoint[], states: States): readonly Endpoint[] {
  return endpoints.filter(({ through }) => {
    if (!through) return false;
    const used = states.flatMap(({ view }) => {
      const service = serviceOf(view, through);
      return service ? [gatewaysUseWaypoint(view, service)] : [];
    });
    return new Set(used).size > 1;
  });
}

/** Gateways that change between the waypoint of a Service and its Pods. */
export const GATEWAYS: MovedCallers = {
  identity: {},
  proxies: [new Set(['gateway']), new Set(['gateway'])],
  reason:
    'gateways call its Service through the waypoint in one state only, and this may change which calls are allowed',
};

interface Proxies {
  /** Empty if nothing was read. */
  readonly found: ReadonlySet<CallerProxy>;
  /** Whether Pods were read. */
  readonly isCertain: boolean;
}

function proxiesOf(view: MeshView, namespace: string, account: string | undefined): Proxies {
  const pods = view.podsIn(namespace).filter((pod) => pod.serviceAccount === account);
  if (pods.length > 0) return { found: new Set(pods.map((pod) => proxyOf(view, pod, pod.kind))), isCertain: true };
  if (view.namespaceLabels(namespace) === undefined) return { found: new Set(), isCertain: false };
  return { found: new Set([proxyOf(view, anyPod(namespace), 'sidecar')]), isCertain: account === undefined };
}

/** The sidecar of a Pod whose Namespace was not read is assumed. */
function proxyOf(view: MeshView, pod: PodFacts, kind: ProxyKind): CallerProxy {
  if (kind !== 'sidecar') return 'gateway';
  const { proxy } = proxyOfPod(view, pod);
  if (proxy === 'ztunnel' || proxy === 'unknown') return 'ambient';
  return proxy === 'sidecar' ? 'sidecar' : 'none';
}

function isMoved(was: Proxies, is: Proxies): boolean {
  const all = new Set([...was.found, ...is.found]);
  if (was.found.size === 0 || is.found.size === 0) return false;
  // A new Pod in a Namespace that injects only on request does not change any caller.
  if (!(was.isCertain && is.isCertain) && all.has('none')) return false;
  return all.size > was.found.size || all.size > is.found.size;
}

function list(proxies: ReadonlySet<CallerProxy>): string {
  return [...proxies].map((one) => PROXIES[one]).join(' and ');
}

/** Lists the ways that callers with the given proxies may take. */
function waysIn(
  state: PolicyIndex,
  { workload, services, through }: Endpoint,
  proxies: ReadonlySet<CallerProxy>,
): readonly Way[] {
  const isAtSidecar = state.dataPlane().proxyOf(workload) === 'sidecar';
  // Behind no Service, sidecars are assumed to accept HBONE.
  const isPlain = services.length > 0 && isAtSidecar && !acceptsHbone(workload.labels);
  const ways: Readonly<Record<CallerProxy, readonly Way[]>> = {
    ambient: [through ? 'waypoint' : 'pod', ...(isPlain ? (['plain'] as const) : [])],
    sidecar: ['pod'],
    gateway: through ? ['waypoint', 'pod'] : ['pod'],
    none: ['pod', 'plain'],
  };
  return [...new Set([...proxies].flatMap((proxy) => ways[proxy]))];
}

type AllowedByWay = ReadonlyMap<Way, Condition>;

/** Returns the calls that a port allows on each way. Without a waypoint in a state, the way leads straight to the Pod. */
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

/** The injector adds the label if the mesh's configuration lets sidecars accept HBONE. */
function acceptsHbone(labels: Readonly<Record<string, string>>): boolean {
  return labels['networking.istio.io/tunnel'] === 'http';
}

/** Replaces what a proxy sees of callers with an identity. */
function seenOf(test: Test, { namespace, account }: Identity, trustDomain: string): Condition {
  if (test.op === 'flag' && test.field === 'peer') return ALWAYS;
  if (test.op !== 'text') return test;
  const known = { 'peer.trustDomain': trustDomain, 'peer.namespace': namespace, 'peer.account': account };
  const value = (known as Readonly<Record<string, string | undefined>>)[test.field];
  if (value === undefined) return test;
  return passes(test.test, value) ? ALWAYS : NEVER;
}

/** Callers in plain text have neither an identity nor an SNI. */
function seenInPlain(test: Test): Condition {
  if (test.op === 'flag' && test.field === 'peer') return NEVER;
  return test.op === 'text' && /^(?:peer\.|connection\.sni$)/.test(test.field) ? NEVER : test;
}
