/**
 * Ports for which a comparison has no result: a proxy on the way of their calls is not understood, and something about
 * them differs.
 */

import { remembered } from '@meshpass/identity/memory/remembered';
import {
  type Labels,
  type MeshView,
  namedWaypoint,
  type Resource,
  type Workload,
  whyPodWaypoint,
} from '@meshpass/istio';
import { canonicalJson } from '../canonical-json.ts';
import type { Endpoint } from './endpoint.ts';
import type { PolicyIndex } from './policy-index.ts';

export interface UnknownPorts {
  readonly reason: string;
  readonly where: readonly Endpoint[];
}

export interface DataPlanes {
  /** Reason why some policies may not have been read. If set, differences are unknown as well. */
  readonly unread: string | undefined;
  /**
   * Returns the reason why an endpoint's decisions are unknown in one of the states, or undefined if both states are
   * understood.
   */
  readonly unknownAt: (endpoint: Endpoint) => string | undefined;
  /** Whether the reason why an endpoint's decisions are unknown differs between the states. */
  readonly changesAt: (endpoint: Endpoint) => boolean;
  /** Namespaces of the waypoints that an endpoint or its Service names in some state. */
  readonly waypointNamespaces: (endpoint: Endpoint) => readonly string[];
  /** Whether a workload exists and does not just represent possible workloads. */
  readonly isThere: (workload: Workload) => boolean;
  /** Namespaces whose Pods are assumed to have a sidecar because nothing indicates otherwise. */
  readonly assumed: (endpoints: readonly Endpoint[]) => readonly string[];
}

/**
 * Determines the data planes of all states.
 * @param unread reason why some policies may not have been read
 */
export function dataPlanes(states: readonly PolicyIndex[], unread?: string): DataPlanes {
  const planes = states.map(({ dataPlane }) => dataPlane());
  return {
    unread,
    unknownAt: (endpoint) => unread ?? states.map((state) => whyUnknown(state, endpoint)).find(isGiven),
    changesAt: (endpoint) => new Set(states.map((state) => whyUnknown(state, endpoint))).size > 1,
    waypointNamespaces: ({ workload, through }) => {
      const namespace = through?.namespace ?? workload.namespace;
      return states.flatMap(
        ({ view }) => namedWaypoint(view, namespace, labelsOf(view, workload, through))?.namespace ?? [],
      );
    },
    isThere: (workload) => planes.some((plane) => plane.isThere(workload)),
    assumed: (endpoints) => {
      const workloads = new Set(endpoints.map(({ workload }) => workload));
      const names = [...workloads].filter((one) => planes.some((plane) => plane.assumes(one)));
      return [...new Set(names.map(({ namespace }) => namespace))].sort();
    },
  };
}

function isGiven(reason: string | undefined): boolean {
  return reason !== undefined;
}

/** Explains why decisions about the calls of an endpoint are unknown in one state. */
function whyUnknown(state: PolicyIndex, { workload, port, protocol, through }: Endpoint): string | undefined {
  const plane = state.dataPlane();
  const reason = plane.unknownAt(workload, port);
  if (reason !== undefined) return reason;
  if (through) return state.at(workload, port, protocol, through).unknown;
  const isAtZtunnel = plane.proxyOf(workload) === 'ztunnel';
  return isAtZtunnel ? whyPodWaypoint(state.view, workload.namespace, workload.labels) : undefined;
}

/** Labels that may name the waypoint of an endpoint. */
function labelsOf(view: MeshView, workload: Workload, through: Endpoint['through']): Labels {
  if (!through) return workload.labels;
  const service = view.within('Service', through.namespace).find(({ metadata }) => metadata.name === through.name);
  return service?.metadata.labels ?? {};
}

/**
 * Lists the unknown endpoints that a difference can affect: in their own namespace or, for workloads that exist, in the
 * root namespace, in that of a waypoint, or at their callers. Without a difference nothing changes, whatever guards the
 * port.
 * @param callersDiffer whether the proxies of some callers differ
 */
export function unknownPorts(
  endpoints: readonly Endpoint[],
  { unknownAt, changesAt, waypointNamespaces, isThere, unread }: DataPlanes,
  [before, after]: readonly [readonly Resource[], readonly Resource[]],
  rootNamespace: string,
  callersDiffer: boolean,
): readonly UnknownPorts[] {
  const differs = unread === undefined ? differences(before, after) : () => true;
  const isAffected = (endpoint: Endpoint): boolean => {
    const { workload, services } = endpoint;
    if (differs(workload.namespace || rootNamespace)) return true;
    if (services.length === 0 && !isThere(workload)) return false;
    const waypoints = waypointNamespaces(endpoint);
    // A GatewayClass has no namespace.
    const places = [rootNamespace, ...waypoints, ...(waypoints.length > 0 ? [''] : [])];
    return callersDiffer || changesAt(endpoint) || places.some(differs);
  };
  const found = new Map<string, Endpoint[]>();
  for (const endpoint of endpoints) {
    const reason = unknownAt(endpoint);
    if (reason === undefined) continue;
    if (!isAffected(endpoint)) continue;
    const same = found.get(reason);
    if (same) same.push(endpoint);
    else found.set(reason, [endpoint]);
  }
  return [...found].map(([reason, where]) => ({ reason, where }));
}

/**
 * Compares two states by namespace. Only metadata that affects policies counts, because the states come from different
 * sources.
 */
function differences(before: readonly Resource[], after: readonly Resource[]): (namespace: string) => boolean {
  const contents = [before, after].map((state) => {
    const groups = Map.groupBy(state, ({ kind, metadata }) =>
      kind === 'Namespace' ? metadata.name : metadata.namespace,
    );
    return (namespace: string) => (groups.get(namespace) ?? []).map(content).sort().join('\n');
  });
  return remembered((namespace: string) => {
    const [was, is] = contents.map((of) => of(namespace));
    return was !== is;
  }, new Map());
}

function content(one: Resource): string {
  const { metadata, ...members } = one;
  const { name, namespace, labels = {}, annotations = {} } = metadata;
  const { status: _, ...kept } = members as Record<string, unknown>;
  return canonicalJson({ ...kept, metadata: { name, namespace, labels, annotations } });
}
