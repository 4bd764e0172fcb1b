/**
 * Finds the workloads that are certain to be in ambient mode, because they have no sidecar and a label on the namespace
 * or Pod enables ambient mode. Source: https://istio.io/latest/docs/ambient/usage/add-workloads/ and
 * .../use-waypoints/.
 */
import { MANAGED_BY, MANAGED_BY_LABEL } from '@meshpass/access/compile';
import { memoize } from '@meshpass/identity';
import {
  type AuthorizationPolicy,
  anyPod,
  GATEWAY_NAME,
  isForSidecars,
  type Labels,
  type MeshView,
  type PodWorkload,
  proxyOfPod,
  type RequestAuthentication,
  type Service,
  selectorOf,
  selects,
  serviceWaypoint,
  WAYPOINT_CLASS,
  type Waypoint,
} from '@meshpass/istio';
import { labels } from '@meshpass/istio/members';
import { describeObject } from '../../exposure/describe.ts';

export interface AmbientWorkload {
  readonly namespace: string;
  /** The labels of the Pod. Undefined if the namespace was read but none of its Pods. */
  readonly labels: Labels | undefined;
  /** A human-readable description, such as `Deployment shop/orders`. */
  readonly described: string;
  /** The Services that select the workload and send its calls through a waypoint. */
  readonly bound: readonly { readonly service: Service; readonly waypoint: Waypoint }[];
}

/** Lists the workloads in ambient mode. If no Pods of a namespace were read, its Services are used instead. */
export const ambientWorkloads = memoize((mesh: MeshView): readonly AmbientWorkload[] => [
  ...mesh.pods
    .filter((pod) => isAmbientPod(mesh, pod))
    .map(({ namespace, labels, object }) => workload(mesh, namespace, labels, describeObject(object))),
  ...mesh
    .all('Namespace')
    .filter(({ metadata }) => isAmbientNamespace(mesh, metadata.name) && mesh.podsIn(metadata.name).length === 0)
    .flatMap(({ metadata: { name } }) => [
      ...mesh
        .within('Service', name)
        .filter(({ spec }) => Object.keys(labels(spec.selector)).length > 0)
        .map((one) => workload(mesh, name, labels(one.spec.selector), describeObject(one))),
      workload(mesh, name, undefined, `namespace ${name}`),
    ]),
]);

function workload(mesh: MeshView, namespace: string, labels: Labels | undefined, described: string): AmbientWorkload {
  const services = labels ? mesh.servicesBefore({ namespace, labels }) : [];
  const bound = services.flatMap((service) => {
    const waypoint = serviceWaypoint(mesh, service)?.waypoint;
    return waypoint ? [{ service, waypoint }] : [];
  });
  return { namespace, labels, described, bound };
}

const byNamespace = memoize((mesh: MeshView) => Map.groupBy(ambientWorkloads(mesh), ({ namespace }) => namespace));

function isAmbientPod(mesh: MeshView, pod: PodWorkload): boolean {
  return pod.kind === 'sidecar' && proxyOfPod(mesh, pod).proxy === 'ztunnel';
}

function isAmbientNamespace(mesh: MeshView, name: string): boolean {
  return proxyOfPod(mesh, anyPod(name)).proxy === 'ztunnel';
}

/** Finds a workload that is certain to have a sidecar, and returns its description. */
export const findSidecarWorkload = memoize((mesh: MeshView): string | undefined => {
  const found = mesh.pods.find((pod) => {
    const captured = proxyOfPod(mesh, pod);
    return pod.kind === 'sidecar' && captured.proxy === 'sidecar' && !captured.assumed;
  });
  return found && describeObject(found.object);
});

/** Lists the ambient workloads that are selected by a policy without `targetRefs`. */
export function workloadsOf(
  mesh: MeshView,
  policy: AuthorizationPolicy | RequestAuthentication,
): readonly AmbientWorkload[] {
  if (!isForSidecars(policy)) return [];
  const { namespace } = policy.metadata;
  const isRoot = namespace === mesh.config.rootNamespace;
  const selector = selectorOf(policy);
  return (isRoot ? ambientWorkloads(mesh) : (byNamespace(mesh).get(namespace) ?? [])).filter((one) =>
    one.labels ? selects(selector, one.labels) : one.namespace === namespace || !selector,
  );
}

/**
 * Checks whether a policy was generated from the access file. Such policies only work at sidecars, and sessions cannot
 * reach any port behind a ztunnel (docs/install/multi-cluster.md).
 */
export function isMeshpassPolicy({ metadata }: AuthorizationPolicy): boolean {
  return labels(metadata.labels)[MANAGED_BY_LABEL] === MANAGED_BY;
}

/** Returns the name of the waypoint whose Pods a policy selects. MP318 reports such policies. */
export function waypointSelected(
  mesh: MeshView,
  policy: AuthorizationPolicy | RequestAuthentication,
): string | undefined {
  const name = isForSidecars(policy) ? selectorOf(policy)?.[GATEWAY_NAME] : undefined;
  const isWaypoint = mesh
    .within('KubernetesGateway', policy.metadata.namespace)
    .some(({ metadata, spec }) => spec.gatewayClassName === WAYPOINT_CLASS && metadata.name === name);
  return isWaypoint ? name : undefined;
}
