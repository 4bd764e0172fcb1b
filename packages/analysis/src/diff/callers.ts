/**
 * Groups the callers of a workload behind a waypoint by the path that their calls take. Callers in ambient mode go
 * through the waypoint. Callers with a sidecar, gateways and callers outside the mesh connect directly to the Pod.
 * Callers whose proxy is unknown are treated as if they were in ambient mode.
 */
import { memoize } from '@meshpass/identity';
import { anyPod, gatewaysUseWaypoint, type MeshView } from '@meshpass/istio';
import { type CallerProxy, resolveCallerProxy } from '../caller-proxy.ts';
import type { Endpoint, Pair } from './endpoint.ts';
import { ALWAYS, all, any, type Condition, flag, not, text } from './formula/condition.ts';
import { type PolicyIndex, serviceOf } from './policy-index.ts';

/** The callers whose gained or lost calls are reported as changes, and the callers that may appear in examples. */
export interface CountedCallers {
  readonly counted: Condition;
  readonly shown: Condition;
}

/** Returns the callers whose gained or lost calls are reported as changes for a pair of policies. */
export function countedCallers({ where }: Pair, kind: 'gains' | 'loses', { view }: PolicyIndex): CountedCallers {
  const [first] = where as [Endpoint, ...Endpoint[]];
  if (first.through) {
    const service = serviceOf(view, first.through);
    const used = service && gatewaysUseWaypoint(view, service);
    const { sidecars, gateways } = namespacesByProxy(view);
    const others = [...sidecars, ...(used ? [] : gateways)];
    return { counted: all([flag('peer'), not(inNamespaces(others))]), shown: ALWAYS };
  }
  if (!first.besides) return { counted: ALWAYS, shown: ALWAYS };
  // Any mesh identity can connect directly to a Pod, but only these callers do so when they call a Service by its name.
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

/**
 * Groups namespaces by the proxies of their Pods. If no Pod of a namespace was read, its labels are used instead. Pods
 * that are not captured yet may be in ambient mode.
 */
const namespacesByProxy = memoize((view: MeshView) => {
  const found = namespacesOf([view]).map((name) => {
    const pods = view.podsIn(name);
    const callers = pods.length === 0 ? [anyPod(name)] : pods.filter(({ kind }) => kind !== 'waypoint');
    return { name, proxies: new Set<CallerProxy>(callers.map((pod) => resolveCallerProxy(view, pod))) };
  });
  const having = (wanted: CallerProxy, ...others: readonly CallerProxy[]) =>
    found
      .filter(({ proxies }) => proxies.has(wanted) && !others.some((one) => proxies.has(one)))
      .map(({ name }) => name);
  return {
    /** The namespaces where every Pod has a sidecar. */
    sidecars: having('sidecar', 'ambient', 'uncaptured', 'gateway'),
    /** The namespaces where at least one Pod has a sidecar. */
    withSidecars: having('sidecar'),
    /** The namespaces that have gateways, but no Pods that may be in ambient mode. */
    gateways: having('gateway', 'ambient', 'uncaptured'),
  };
});

/** Lists the namespaces that contain at least one known object. */
export function namespacesOf(views: readonly MeshView[]): readonly string[] {
  const names = views.flatMap((view) => [
    ...view.all('Namespace').map(({ metadata }) => metadata.name),
    ...view.pods.map(({ namespace }) => namespace),
  ]);
  return [...new Set(names)].sort();
}
