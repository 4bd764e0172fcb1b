/** What the linter knows of the mesh, put so that rules find it without searching: every rule reads this and nothing else. */

import type { Access } from '@meshpass/access/compile';
import {
  type AuthorizationPolicy,
  fullHost,
  isForSidecars,
  type KubeObject,
  oldestFirst,
  type PeerAuthentication,
  podTemplates,
  type Resource,
  type ResourceKind,
  type ResourceOf,
  type Service,
  selectorOf,
  selects as selectsLabels,
} from '@meshpass/istio';
import { hasLabels, labels } from '@meshpass/istio/members';
import { type Exposure, exposuresOf } from './exposure/exposure.ts';
import { type Granted, grantedHosts } from './granted.ts';
import type { LintOptions } from './model.ts';
import { groupByNamespace, type Workload } from './workload.ts';

export interface MeshView {
  readonly resources: readonly Resource[];
  readonly of: <Kind extends ResourceKind>(kind: Kind) => readonly ResourceOf<Kind>[];
  readonly access: Access | undefined;
  readonly complete: boolean;
  readonly rootNamespace: string;
  readonly clusterDomain: string;
  readonly pathNormalization: NonNullable<LintOptions['pathNormalization']>;
  readonly workloads: readonly Workload[];
  readonly workloadsIn: (namespace: string) => readonly Workload[];
  readonly servicesIn: (namespace: string) => readonly Service[];
  /** The Service of a full host name. */
  readonly serviceOf: (host: string) => Service | undefined;
  readonly workloadsOf: (service: Service) => readonly Workload[];
  readonly servicesBehind: (workload: Workload) => readonly Service[];
  /** Whether the Namespace itself is given, and so its labels. */
  readonly knowsNamespace: (namespace: string) => boolean;
  readonly namespaceLabels: (namespace: string) => Readonly<Record<string, string>>;
  readonly policiesIn: (namespace: string) => readonly AuthorizationPolicy[];
  readonly peerAuthenticationsIn: (namespace: string) => readonly PeerAuthentication[];
  /** Policies that a workload's proxy enforces: its namespace's and the root's, by selector. Not those of waypoints. */
  readonly policiesOn: (workload: Pick<Workload, 'namespace' | 'labels'>) => readonly AuthorizationPolicy[];
  /** What is reachable through gateways. */
  readonly exposures: readonly Exposure[];
  /** What was, where a state to compare with is given. */
  readonly base: MeshView | undefined;
  /** Hosts of services that the access file grants, with the ports, and by which grants. */
  readonly granted: Granted;
}

export function viewMesh(resources: readonly Resource[], options: LintOptions): MeshView {
  const rootNamespace = options.rootNamespace ?? 'istio-system';
  const clusterDomain = options.clusterDomain ?? 'cluster.local';
  const kinds = new Map<string, Resource[]>();
  for (const resource of resources) {
    const same = kinds.get(resource.kind);
    if (same) same.push(resource);
    else kinds.set(resource.kind, [resource]);
  }
  const of = <Kind extends ResourceKind>(kind: Kind) =>
    (kinds.get(kind) ?? []) as unknown as readonly ResourceOf<Kind>[];
  const workloads = podTemplates(of);
  const workloadsByNamespace = groupByNamespace(workloads, (one) => one.namespace);
  const servicesByNamespace = groupByNamespace(of('Service'), namespaceOf);
  const policiesByNamespace = groupByNamespace(of('AuthorizationPolicy'), namespaceOf);
  const peersByNamespace = groupByNamespace(oldestFirst(of('PeerAuthentication')), namespaceOf);
  const services = new Map(
    of('Service').map((one) => [fullHost(one.metadata.name, one.metadata.namespace, clusterDomain), one]),
  );
  const namespaces = new Map(of('Namespace').map((one) => [one.metadata.name, labels(one.metadata.labels)]));
  const pods = new Map<Service, readonly Workload[]>();
  let exposures: readonly Exposure[] | undefined;

  const view: MeshView = {
    ...{ resources, of, rootNamespace, clusterDomain, workloads },
    access: options.access,
    complete: options.complete ?? false,
    pathNormalization: options.pathNormalization ?? 'BASE',
    workloadsIn: (namespace) => workloadsByNamespace.get(namespace) ?? [],
    servicesIn: (namespace) => servicesByNamespace.get(namespace) ?? [],
    serviceOf: (host) => services.get(host),
    workloadsOf: (service) => {
      let found = pods.get(service);
      if (!found) {
        const selector = labels(service.spec.selector);
        found =
          Object.keys(selector).length === 0
            ? []
            : (workloadsByNamespace.get(service.metadata.namespace) ?? []).filter((one) =>
                hasLabels(selector, one.labels),
              );
        pods.set(service, found);
      }
      return found;
    },
    servicesBehind: (workload) =>
      (servicesByNamespace.get(workload.namespace) ?? []).filter((service) => {
        const selector = labels(service.spec.selector);
        return Object.keys(selector).length > 0 && hasLabels(selector, workload.labels);
      }),
    knowsNamespace: (namespace) => namespaces.has(namespace),
    namespaceLabels: (namespace) => namespaces.get(namespace) ?? {},
    policiesIn: (namespace) => policiesByNamespace.get(namespace) ?? [],
    peerAuthenticationsIn: (namespace) => peersByNamespace.get(namespace) ?? [],
    policiesOn: (workload) => {
      const own = policiesByNamespace.get(workload.namespace) ?? [];
      const root = workload.namespace === rootNamespace ? [] : (policiesByNamespace.get(rootNamespace) ?? []);
      return [...own, ...root].filter((policy) => selects(policy, workload.labels));
    },
    get exposures() {
      exposures ??= exposuresOf(view);
      return exposures;
    },
    base: options.base ? viewMesh(options.base, { ...options, base: undefined } as LintOptions) : undefined,
    granted: grantedHosts(options.access, { services: of('Service'), namespaces, rootNamespace, clusterDomain }),
  };
  return view;
}

/** Whether a policy without `targetRefs` selects pods with these labels; policies of waypoints and gateways do not. */
export function selects(policy: AuthorizationPolicy, given: Readonly<Record<string, string>>): boolean {
  return isForSidecars(policy) && selectsLabels(selectorOf(policy), given);
}

function namespaceOf(object: KubeObject): string {
  return object.metadata.namespace;
}
