/** Where a comparison says nothing: ports before which something stands that is not understood, and about which something differs. */

import { type DataPlane, DEFAULT_MESH_CONFIG, type Resource, viewMesh, type Workload } from '@meshpass/istio';
import { canonicalJson } from '../canonical-json.ts';
import type { Endpoint } from './endpoint.ts';

export interface UnknownPorts {
  readonly reason: string;
  readonly where: readonly Endpoint[];
}

export interface DataPlanes {
  /** Why not everything was read; what differs is not known either then. */
  readonly unread: string | undefined;
  /** Why nothing can be said of an endpoint in one of the states; undefined where both are understood. */
  readonly unknownAt: (endpoint: Pick<Endpoint, 'workload' | 'port'>) => string | undefined;
  /** Whether a workload is there, and does not only stand for what may come. */
  readonly isThere: (workload: Workload) => boolean;
  /** Namespaces whose Pods are taken to have a sidecar because nothing that was read says otherwise. */
  readonly assumed: (endpoints: readonly Endpoint[]) => readonly string[];
}

/**
 * @param states resources of each
 * @param unread why not everything was read that may hold policies
 */
export function dataPlanes(
  states: readonly (readonly Resource[])[],
  rootNamespace: string,
  unread?: string,
): DataPlanes {
  const planes: readonly DataPlane[] = [...new Set(states)].map((state) =>
    viewMesh(state, { ...DEFAULT_MESH_CONFIG, rootNamespace }, unread).dataPlane(),
  );
  return {
    unread,
    unknownAt: ({ workload, port }) => {
      for (const plane of planes) {
        const reason = plane.unknownAt(workload, port);
        if (reason !== undefined) return reason;
      }
      return undefined;
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
 * Of endpoints that are not understood, those about which something differs: an object of their own namespace or, where it is not only
 * a workload that may come, of the root namespace. Where nothing differs, nothing changes, whatever guards it.
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

/** Whether two states differ in a namespace. Of metadata only what policies depend on counts: states come from different places. */
function differences(before: readonly Resource[], after: readonly Resource[]): (namespace: string) => boolean {
  const contents = [before, after].map((state) => {
    const groups = Map.groupBy(state, ({ kind, metadata }) =>
      kind === 'Namespace' ? metadata.name : metadata.namespace,
    );
    return (namespace: string) => (groups.get(namespace) ?? []).map(content).sort().join('\n');
  });
  const known = new Map<string, boolean>();
  return (namespace) => {
    let differs = known.get(namespace);
    if (differs === undefined) {
      const [was, is] = contents.map((of) => of(namespace));
      differs = was !== is;
      known.set(namespace, differs);
    }
    return differs;
  };
}

function content(one: Resource): string {
  const { metadata, ...members } = one;
  const { name, namespace, labels = {}, annotations = {} } = metadata;
  const { status: _, ...kept } = members as Record<string, unknown>;
  return canonicalJson({ ...kept, metadata: { name, namespace, labels, annotations } });
}
