/**
 * Ports for which a comparison has no result: they are guarded neither by a standard sidecar nor by a ztunnel, and
 * something about them differs.
 */

import { remembered } from '@meshpass/identity/memory/remembered';
import type { Resource, Workload } from '@meshpass/istio';
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
    unknownAt: ({ workload, port, protocol, through }) => {
      if (unread !== undefined) return unread;
      for (const plane of planes) {
        const reason = plane.unknownAt(workload, port);
        if (reason !== undefined) return reason;
      }
      if (!through) return undefined;
      return states.flatMap((state) => state.at(workload, port, protocol, through).unknown ?? [])[0];
    },
    isThere: (workload) => planes.some((plane) => plane.isThere(workload)),
    assumed: (endpoints) => {
      const workloads = new Set(endpoints.map(({ workload }) => workload));
      const names = [...workloads].filter((one) => planes.some((plane) => plane.assumes(one)));
      return [...new Set(names.map(({ namespace }) => namespace))].sort();
    },
  };
}

/**
 * Lists the unknown endpoints that a difference can affect, either in their own namespace or, for workloads that exist,
 * in the root namespace. Without a difference nothing changes, whatever guards the port.
 */
export function unknownPorts(
  endpoints: readonly Endpoint[],
  { unknownAt, isThere, unread }: DataPlanes,
  [before, after]: readonly [readonly Resource[], readonly Resource[]],
  rootNamespace: string,
): readonly UnknownPorts[] {
  const differs = unread === undefined ? differences(before, after) : () => true;
  const found = new Map<string, Endpoint[]>();
  for (const endpoint of endpoints) {
    const reason = unknownAt(endpoint);
    if (reason === undefined) continue;
    const { workload, services } = endpoint;
    const real = services.length > 0 || isThere(workload);
    if (!differs(workload.namespace || rootNamespace) && !(real && differs(rootNamespace))) continue;
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
