/**
 * Determines which objects istiod reads, and which Services it exports to a namespace. Sources: `discoverySelectors`
 * and `defaultServiceExportTo` of MeshConfig, pkg/kube/namespace/filter.go, and `IsServiceVisible` in
 * pilot/pkg/model/push_context.go of Istio 1.31.
 */

import type { MeshShape } from '@meshpass/access/compile';
import {
  destinationSettings,
  EXPORT_TO,
  exportToOf,
  findMeshConfig,
  identityOf,
  indexObjects,
  isExportedTo,
  type MeshConfig,
  ofKind,
  type Resource,
  type ResourceKind,
  selectsByExpressions,
  serviceName,
} from '@meshpass/istio';
import { type GrantedPort, serviceOf } from './context.ts';
import type { Finding } from './finding.ts';
import { unknownGrantFinding } from './unknown.ts';

interface Invisible {
  /** Whether the visibility of the Service is unknown. */
  readonly unknown?: true;
  readonly because: string;
}

type Named = Pick<Resource['metadata'], 'name' | 'namespace'>;

export interface Visibility {
  /**
   * Removes objects in namespaces that istiod does not read. Workloads are kept, because their proxies run regardless.
   */
  readonly read: (resources: readonly Resource[]) => readonly Resource[];
  /**
   * Explains why calls cannot reach a Service port. Either the mesh gateway or the workspaces of a grant cannot see the
   * Service, or the gateway does not forward calls to it.
   * @param grant the namespace of the grant
   */
  readonly whyInvisible: (service: Named, port: number, grant: string) => Invisible | undefined;
  /** Whether the mesh gateway does not forward any calls to a Service port. */
  readonly isUnseen: (host: string, port: number) => boolean;
}

const WORKLOADS: ReadonlySet<ResourceKind> = new Set([
  ...(['Pod', 'Deployment', 'StatefulSet', 'DaemonSet', 'ReplicaSet', 'Job'] as const),
]);

/**
 * Determines which objects in the cluster are visible.
 * @param cluster all objects, including those that are not visible
 */
export function determineVisibility(
  cluster: readonly Resource[],
  { gateway, clusterDomain, rootNamespace }: MeshShape,
): Visibility {
  const config = { ...findMeshConfig(cluster), clusterDomain, rootNamespace };
  const watched = watchedNamespaces(cluster, config);
  const read = (resources: readonly Resource[]) =>
    resources.filter(({ kind, metadata }) => WORKLOADS.has(kind) || watched(metadata.namespace) !== false);
  const services = new Map(ofKind(cluster, 'Service').map((one) => [keyOf(one.metadata), one]));
  const destinations = destinationSettings(indexObjects(read(cluster)), config);

  const whyUnread = (namespace: string, role: string): Invisible | undefined => {
    const isWatched = watched(namespace);
    if (isWatched) return undefined;
    const by = `istiod reads namespace ${namespace} of ${role} only if the mesh's discoverySelectors select it`;
    if (isWatched === false) return { because: `${by}, and they do not` };
    return { unknown: true, because: `${by}, and its Namespace was not read` };
  };
  const whyUnexported = (service: Named, viewer: string, role: string): Invisible | undefined => {
    const found = services.get(keyOf(service));
    const exported = { kind: 'Service', metadata: found?.metadata ?? service } as const;
    if (isExportedTo(exported, viewer, config)) return undefined;
    const by = found?.metadata.annotations?.[EXPORT_TO] ? EXPORT_TO : "the mesh's defaultServiceExportTo";
    const because = `Service ${keyOf(service)} is not exported to namespace ${viewer} of ${role} (${by} is ${exportToOf(exported, config).join(', ')})`;
    return { because };
  };
  // The gateway only forwards connections to endpoints that istiod considers to accept Istio mutual TLS. For this, a
  // DestinationRule takes precedence over everything else. Source: `checkMtlsEnabled` in
  // pilot/pkg/xds/endpoints/mtls_checker.go of Istio 1.31.
  const whyNotForwarded = ({ name, namespace }: Named, port: number): Invisible | undefined => {
    const setting = destinations(gateway, `${name}.${namespace}.svc.${clusterDomain}`).clientTls(port);
    if (!setting || setting.mode === 'ISTIO_MUTUAL') return undefined;
    const because = `${identityOf(setting.by)} sets tls.mode ${setting.mode}, and the mesh gateway forwards to ISTIO_MUTUAL only`;
    return { because };
  };
  const whyInvisible: Visibility['whyInvisible'] = (service, port, grant) =>
    whyUnread(gateway.namespace, 'the mesh gateway') ??
    whyUnread(service.namespace, 'the Service') ??
    whyUnexported(service, gateway.namespace, 'the mesh gateway') ??
    whyUnexported(service, grant, 'the grant') ??
    whyNotForwarded(service, port);

  return {
    read,
    whyInvisible,
    isUnseen: (host, port) => {
      const service = serviceName(host, clusterDomain);
      const why = service && whyInvisible(service, port, gateway.namespace);
      return why !== undefined && !why.unknown;
    },
  };
}

/**
 * Creates a function that returns whether istiod reads a namespace, or undefined if the labels of the namespace are
 * unknown.
 */
function watchedNamespaces(
  cluster: readonly Resource[],
  { discoverySelectors }: MeshConfig,
): (namespace: string) => boolean | undefined {
  if (!discoverySelectors) return () => true;
  const known = new Map(
    ofKind(cluster, 'Namespace').map(({ metadata: { name, labels = {} } }) => [
      name,
      discoverySelectors.some((one) => selectsByExpressions(one, labels)),
    ]),
  );
  return (namespace) => known.get(namespace);
}

function keyOf({ namespace, name }: Named): string {
  return `${namespace}/${name}`;
}

/** Creates a finding for every granted port whose Service is not visible. */
export function findInvisibleServices(
  ports: readonly GrantedPort[],
  { whyInvisible }: Pick<Visibility, 'whyInvisible'>,
): readonly Finding[] {
  return ports.flatMap((port): readonly Finding[] => {
    const { grant, target } = port;
    const why = whyInvisible(target.service, target.port.port, grant.namespace);
    if (why === undefined) return [];
    const unknown = unknownGrantFinding(port, why.because);
    if (why.unknown) return [unknown];
    const message = `grant ${grant.grant.name} does not work: no call reaches ${serviceOf(target)}`;
    return [{ ...unknown, kind: 'grant-does-not-work', message }];
  });
}
