/**
 * Finds the ports for which a comparison has no result. Either something about the port differs and a proxy on the path
 * of its calls cannot be modelled, or there is a difference that formulas do not capture.
 */

import { type MeshView, namedWaypoint, whyPodWaypoint } from '@meshpass/istio';
import { compareStates } from './differences.ts';
import type { Endpoint, Pair } from './endpoint.ts';
import { type PolicyIndex, serviceOf } from './policy-index.ts';

export interface UnknownPorts {
  readonly reason: string;
  readonly where: readonly Endpoint[];
}

/** Explains why the decisions about calls to an endpoint are unknown in at least one of the states. */
export function whyUnknown(states: readonly PolicyIndex[], endpoint: Endpoint): string | undefined {
  return states.map((state) => whyIn(state, endpoint)).find((reason) => reason !== undefined);
}

/** Lists the namespaces whose Pods are assumed to have a sidecar because no object contradicts this. */
export function assumedSidecarNamespaces(
  states: readonly PolicyIndex[],
  endpoints: readonly Endpoint[],
): readonly string[] {
  const workloads = [...new Set(endpoints.map(({ workload }) => workload))];
  const names = workloads.filter((one) => states.some((state) => state.dataPlane().assumes(one)));
  return [...new Set(names.map(({ namespace }) => namespace))].sort();
}

/** Explains why the decisions about calls to an endpoint are unknown in one state. */
function whyIn(state: PolicyIndex, { workload, port, protocol, through }: Endpoint): string | undefined {
  const plane = state.dataPlane();
  const reason = plane.unknownAt(workload, port);
  if (reason !== undefined) return reason;
  if (through) return state.at(workload, port, protocol, through).unknown;
  const isAtZtunnel = plane.proxyOf(workload) === 'ztunnel';
  return isAtZtunnel ? whyPodWaypoint(state.view, workload.namespace, workload.labels) : undefined;
}

/**
 * Lists the ports for which the result of the comparison is unknown. Either a port cannot be modelled and a difference
 * could affect it, or formulas do not capture a difference at the port. If nothing differs, the result is known no
 * matter which proxy the port has.
 * @param pairs the ports that can be modelled
 * @param callersDiffer whether the proxies of any callers differ between the states
 */
export function unknownPorts(
  endpoints: readonly Endpoint[],
  pairs: readonly Pair[],
  states: readonly [PolicyIndex, PolicyIndex],
  unread: string | undefined,
  callersDiffer: boolean,
): readonly UnknownPorts[] {
  const views = states.map(({ view }) => view);
  const [before, after] = views as [MeshView, MeshView];
  const { whyUnread, mayAffect } = compareStates(before.resources, after.resources);
  const { rootNamespace } = before.config;
  const isAffected = (endpoint: Endpoint): boolean => {
    const { workload, services } = endpoint;
    const own = workload.namespace || rootNamespace;
    // Settings for the whole mesh do not affect Pods that do not exist yet.
    const isThere = services.length > 0 || views.some((view) => view.dataPlane().isThere(workload));
    const port = { endpoint, portPolicies: [], views };
    if (!isThere) return mayAffect(port, [own]);
    const waypoints = waypointNamespaces(views, endpoint);
    // A GatewayClass does not belong to any namespace.
    const namespaces = [own, rootNamespace, ...waypoints, ...(waypoints.length > 0 ? [''] : [])];
    return callersDiffer || whyIn(states[0], endpoint) !== whyIn(states[1], endpoint) || mayAffect(port, namespaces);
  };
  const found = new Map<string, Endpoint[]>();
  const add = (endpoint: Endpoint, reason: string | undefined): void => {
    if (reason === undefined) return;
    const same = found.get(reason);
    if (same) same.push(endpoint);
    else found.set(reason, [endpoint]);
  };
  const understood = new Set(pairs.flatMap(({ where }) => where));
  for (const endpoint of endpoints) {
    if (unread !== undefined) add(endpoint, unread);
    else if (!understood.has(endpoint) && isAffected(endpoint)) add(endpoint, whyUnknown(states, endpoint));
  }
  for (const { where, portPolicies } of pairs)
    for (const endpoint of where) add(endpoint, whyUnread({ endpoint, portPolicies, views }));
  return [...found].map(([reason, where]) => ({ reason, where }));
}

/** Lists the namespaces of the waypoints that an endpoint or its Service uses in any of the states. */
function waypointNamespaces(views: readonly MeshView[], { workload, through }: Endpoint): readonly string[] {
  const namespace = through?.namespace ?? workload.namespace;
  return views.flatMap((view) => {
    const service = through && serviceOf(view, through);
    const labels = through ? (service?.metadata.labels ?? {}) : workload.labels;
    return namedWaypoint(view, namespace, labels)?.namespace ?? [];
  });
}
