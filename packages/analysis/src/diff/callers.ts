/**
 * Callers of a workload behind a waypoint, by the way that they take: through it come callers in ambient mode, and straight
 * to the Pod those with a sidecar, gateways and callers outside the mesh. Callers whose proxies are not known count as in
 * ambient mode.
 */
import { anyPod, gatewaysUseWaypoint, type MeshView, proxyOfPod } from '@meshpass/istio';
import type { Endpoint, Pair } from './endpoint.ts';
import { ALWAYS, all, any, type Condition, flag, not, text } from './formula/condition.ts';
import { type PolicyIndex, serviceOf } from './policy-index.ts';

/** Condition of the callers whose gains or losses count, and of those among them that examples may show. */
export interface CountedCallers {
  readonly counted: Condition;
  readonly shown: Condition;
}

/** Returns the callers that count for a pair of policies. */
export function callersOf({ where }: Pair, kind: 'gains' | 'loses', { view }: PolicyIndex): CountedCallers {
  const [first] = where as [Endpoint, ...Endpoint[]];
  if (first.through) {
    const service = serviceOf(view, first.through);
    const used = service && gatewaysUseWaypoint(view, service);
    const { sidecars, gateways } = namespacesByProxy(view);
    const others = [...sidecars, ...(used ? [] : gateways)];
    return { counted: all([flag('peer'), not(inNamespaces(others))]), shown: ALWAYS };
  }
  if (!first.besides) return { counted: ALWAYS, shown: ALWAYS };
  // Any identity of the mesh can connect to a Pod, but only these callers do so by the name of a Service.
  const { withSidecars, gateways } = namespacesByProxy(view);
  const bypassing = any([not(flag('peer')), inNamespaces([...withSidecars, ...gateways])]);
  return { counted: kind === 'gains' ? ALWAYS : bypassing, shown: not(any(first.besides.map(isPrincipal))) };
}

function inNamespaces(names: readonly string[]): Condition {
  return any([...new Set(names)].sort().map((name) => text('peer.namespace', { form: 'exact', text: name })));
}

function isPrincipal(principal: string): Condition {
  const [trustDomain = '', , namespace = '', , account = ''] = principal.split('/');
  return all([
    flag('peer'),
    text('peer.trustDomain', { form: 'exact', text: trustDomain }),
    text('peer.namespace', { form: 'exact', text: namespace }),
    text('peer.account', { form: 'exact', text: account }),
  ]);
}

interface Namespaces {
  /** All of whose Pods have a sidecar. */
  readonly sidecars: readonly string[];
  /** Some of whose Pods have a sidecar. */
  readonly withSidecars: readonly string[];
  /** Namespaces with gateways and no Pods that may be in ambient mode. */
  readonly gateways: readonly string[];
}

/**
 * Sorts namespaces by the proxies of their Pods, or by their labels if no Pod was read. Pods that are not captured yet
 * may be in ambient mode.
 */
function namespacesByProxy(view: MeshView): Namespaces {
  const names = new Set([
    ...view.all('Namespace').map(({ metadata }) => metadata.name),
    ...view.pods.map((pod) => pod.namespace),
  ]);
  const found = [...names].map((name) => {
    const pods = view.podsIn(name);
    const waypointless = pods.filter(({ kind }) => kind !== 'waypoint');
    const read = waypointless.filter(({ kind }) => kind === 'sidecar').map((pod) => proxyOfPod(view, pod));
    const mayBeAmbient = read.some(({ proxy }) => proxy === 'ztunnel' || proxy === 'unknown');
    const hasSidecar = (pods.length === 0 ? [proxyOfPod(view, anyPod(name))] : read).some(
      (one) => one.proxy === 'sidecar' && !one.assumed,
    );
    const hasGateway = waypointless.some(({ kind }) => kind === 'gateway');
    return { name, mayBeAmbient, hasSidecar, hasGateway };
  });
  const named = (some: typeof found) => some.map(({ name }) => name);
  return {
    sidecars: named(found.filter((one) => one.hasSidecar && !one.mayBeAmbient && !one.hasGateway)),
    withSidecars: named(found.filter((one) => one.hasSidecar)),
    gateways: named(found.filter((one) => one.hasGateway && !one.mayBeAmbient)),
  };
}
