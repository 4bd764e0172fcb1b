/** The mesh as the compiler needs it, out of the resources of a cluster or of files. */
import { byName } from '../by-name.ts';
import { MANAGED_BY, MANAGED_BY_LABEL } from '../compile/metadata.ts';
import { ofKind, selects } from '../diff/workloads.ts';
import { actionOf, isDryRun } from '../istio/authorization-policy.ts';
import { protocolOf } from '../istio/port-protocol.ts';
import type { Resource, ResourceOf } from '../istio/resources.ts';
import type { ForeignPolicy, Mesh, MeshService } from '../model.ts';

/** What no resource tells. */
export type MeshShape = Pick<Mesh, 'trustDomain' | 'rootNamespace' | 'clusterDomain' | 'gateway'>;

export function meshOf(resources: readonly Resource[], shape: MeshShape): Mesh {
  const pods = Map.groupBy(podsOf(resources), ({ namespace }) => namespace);
  const services = ofKind(resources, 'Service').flatMap((service) => toService(service, pods));
  const namespaces = ofKind(resources, 'Namespace').map(({ metadata: { name, labels = {} } }) => ({ name, labels }));
  return {
    ...shape,
    services: services.sort(byName),
    ...(namespaces.length > 0 && { namespaces }),
    foreignPolicies: ofKind(resources, 'AuthorizationPolicy').flatMap(toForeign).sort(byName),
  };
}

/** Whether Meshpass wrote it. */
export function isOurs({ metadata }: Pick<Resource, 'metadata'>): boolean {
  return metadata.labels?.[MANAGED_BY_LABEL] === MANAGED_BY;
}

type Workload = MeshService['workloads'][number] & { readonly namespace: string };

function toService(
  { metadata, spec }: ResourceOf<'Service'>,
  pods: ReadonlyMap<string, readonly Workload[]>,
): MeshService[] {
  if (spec.type === 'ExternalName') return [];
  const selector = spec.selector ?? {};
  const distinct = new Map<string, MeshService['workloads'][number]>();
  for (const { labels, serviceAccount } of pods.get(metadata.namespace) ?? []) {
    if (Object.keys(selector).length === 0 || !selects(selector, labels)) continue;
    // Replicas differ in this label alone; without it they are one workload.
    const { 'pod-template-hash': _, ...kept } = labels;
    distinct.set(JSON.stringify([serviceAccount, Object.entries(kept).sort()]), { labels: kept, serviceAccount });
  }
  // Whoever comes has these labels at least. An ALLOW for them selects nobody that somebody else's ALLOW does not.
  if (distinct.size === 0) distinct.set('', { labels: selector, serviceAccount: 'default' });
  const tcp = (spec.ports ?? []).filter(({ protocol }) => (protocol ?? 'TCP') === 'TCP');
  return [
    {
      name: metadata.name,
      namespace: metadata.namespace,
      selector,
      ...(metadata.labels && { labels: metadata.labels }),
      ports: tcp.map(({ port, targetPort = port, name = '', appProtocol }) => ({
        ...{ port, targetPort, name },
        protocol: protocolOf(port, appProtocol ?? name),
      })),
      workloads: [...distinct].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, workload]) => workload),
    },
  ];
}

function podsOf(resources: readonly Resource[]): readonly Workload[] {
  return resources.flatMap((one): Workload[] => {
    const { namespace } = one.metadata;
    switch (one.kind) {
      case 'Pod': {
        if (['Succeeded', 'Failed'].includes(one.status?.phase ?? '')) return [];
        return [
          { namespace, labels: one.metadata.labels ?? {}, serviceAccount: one.spec.serviceAccountName ?? 'default' },
        ];
      }
      case 'Deployment':
      case 'StatefulSet':
      case 'DaemonSet':
      case 'ReplicaSet':
      case 'Job': {
        const { metadata, spec } = one.spec.template ?? {};
        return [{ namespace, labels: metadata?.labels ?? {}, serviceAccount: spec?.serviceAccountName ?? 'default' }];
      }
      default:
        return [];
    }
  });
}

/** Only what sidecars enforce: taken for an ALLOW on sidecars, another would have us add the first ALLOW there. */
function toForeign(policy: ResourceOf<'AuthorizationPolicy'>): ForeignPolicy[] {
  const { metadata, spec } = policy;
  const elsewhere = spec.targetRef !== undefined || (spec.targetRefs?.length ?? 0) > 0;
  if (isOurs(policy) || elsewhere || isDryRun(policy)) return [];
  const selector = spec.selector?.matchLabels;
  return [
    {
      name: metadata.name,
      namespace: metadata.namespace,
      action: actionOf(policy),
      ...(selector && { selector }),
    },
  ];
}
