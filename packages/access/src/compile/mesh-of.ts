/** Builds the compiler's model of a mesh from the resources of a cluster or from files. */

import {
  byName,
  DEFAULT_MESH_CONFIG,
  distinctWorkloads,
  findMeshConfig,
  foreignPolicyOf,
  indexObjects,
  type Mesh,
  type MeshClusterRole,
  type MeshService,
  type MeshSettings,
  meshServiceOf,
  ofKind,
  type PodTemplateOf,
  podTemplates,
  type Resource,
  type ResourceOf,
  type Role,
} from '@meshpass/istio';
import { MANAGED_BY, MANAGED_BY_LABEL } from './metadata.ts';

/** The mesh settings that are not part of any resource. */
export type MeshShape = Pick<Mesh, 'trustDomain' | 'rootNamespace' | 'clusterDomain' | 'gateway'>;

/**
 * Builds the compiler's model of a mesh: the Services with their workloads, the namespaces, and the foreign policies.
 * @param shape the settings that are not part of any resource
 * @example
 * ```ts
 * import { meshOf } from '@meshpass/access/compile';
 * import { loadManifests } from '@meshpass/istio';
 * const shape = {
 *   trustDomain: 'cluster.local', rootNamespace: 'istio-system', clusterDomain: 'cluster.local',
 *   gateway: { namespace: 'meshpass-system', labels: { istio: 'meshpass-gateway' }, port: 15443 },
 * };
 * const orders = `{apiVersion: v1, kind: Service, metadata: {name: orders, namespace: shop},
 *   spec: {selector: {app: orders}, ports: [{port: 80, name: http}]}}`;
 * const mesh = meshOf(loadManifests(orders, 'cluster.yaml').resources, shape);
 * mesh.services.map(({ name, ports }) => [name, ports[0]!.protocol]); // => [['orders', 'http']]
 * ```
 */
export function meshOf(resources: readonly Resource[], shape: MeshShape): Mesh {
  const pods = Map.groupBy(podTemplates(indexObjects(resources).all), ({ namespace }) => namespace);
  const services = ofKind(resources, 'Service').flatMap((service) => withWorkloads(service, pods));
  const namespaces = ofKind(resources, 'Namespace').map(({ metadata: { name, labels = {} } }) => ({ name, labels }));
  const clusterRoles = ofKind(resources, 'ClusterRole').map(clusterRoleOf);
  return {
    ...shape,
    services: services.sort(byName),
    ...(namespaces.length > 0 && { namespaces }),
    ...(clusterRoles.length > 0 && { clusterRoles }),
    foreignPolicies: ofKind(resources, 'AuthorizationPolicy')
      .flatMap((policy) => (isOurs(policy) ? [] : (foreignPolicyOf(policy) ?? [])))
      .sort(byName),
  };
}

/**
 * Reads the mesh settings that affect policies from istiod's ConfigMap, if the resources include it. If they do not,
 * the external authorizers are unknown, and any authorizer could exist.
 * @param aliases trust domain aliases that replace those in the ConfigMap
 * @example
 * ```ts
 * import { settingsOf } from '@meshpass/access/compile';
 * const shape = {
 *   trustDomain: 'cluster.local', rootNamespace: 'istio-system', clusterDomain: 'cluster.local',
 *   gateway: { namespace: 'meshpass-system', labels: { istio: 'meshpass-gateway' }, port: 15443 },
 * };
 * settingsOf([], shape, ['old.example']).trustDomainAliases; // => ['old.example']
 * ```
 */
export function settingsOf(
  resources: readonly Resource[],
  shape: MeshShape,
  aliases?: readonly string[],
): MeshSettings {
  const config = findMeshConfig(resources);
  return {
    ...shape,
    trustDomainAliases: aliases ?? config.trustDomainAliases,
    caTrustDomains: config.caTrustDomains,
    ...(config !== DEFAULT_MESH_CONFIG && { authorizers: config.authorizers }),
  };
}

/**
 * Whether an object is managed by Meshpass.
 * @example
 * ```ts
 * import { isOurs, MANAGED_BY, MANAGED_BY_LABEL } from '@meshpass/access/compile';
 * const metadata = { name: 'meshpass-dev', namespace: '', labels: { [MANAGED_BY_LABEL]: MANAGED_BY } };
 * isOurs({ metadata }); // => true
 * ```
 */
export function isOurs({ metadata }: Pick<Resource, 'metadata'>): boolean {
  return metadata.labels?.[MANAGED_BY_LABEL] === MANAGED_BY;
}

/**
 * Extracts a ClusterRole's rules.
 * @example
 * ```ts
 * import { clusterRoleOf } from '@meshpass/access/compile';
 * clusterRoleOf({ metadata: { name: 'pods' }, rules: [] }); // => { name: 'pods', rules: [] }
 * ```
 */
export function clusterRoleOf({
  metadata: { name, labels },
  rules,
  aggregationRule,
}: Pick<Role, 'rules' | 'aggregationRule'> & {
  readonly metadata: { readonly name: string; readonly labels?: Readonly<Record<string, string>> };
}): MeshClusterRole {
  return {
    name,
    ...(labels && { labels }),
    ...(rules && { rules }),
    ...(aggregationRule !== undefined && aggregationRule !== null && { aggregationRule }),
  };
}

type Workload = Pick<PodTemplateOf, 'namespace' | 'labels' | 'serviceAccount'>;

function withWorkloads(service: ResourceOf<'Service'>, pods: ReadonlyMap<string, readonly Workload[]>): MeshService[] {
  const found = meshServiceOf(service);
  if (!found) return [];
  const workloads = distinctWorkloads(found.selector, pods.get(found.namespace) ?? []);
  // Future Pods will have at least these labels. An ALLOW policy for these labels therefore never selects a Pod that
  // the foreign ALLOW policy does not select.
  return [
    { ...found, workloads: workloads.length > 0 ? workloads : [{ labels: found.selector, serviceAccount: 'default' }] },
  ];
}
