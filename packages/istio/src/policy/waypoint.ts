/**
 * Waypoints: which one takes the calls to a Service, and the identity with which it forwards them. Source:
 * pilot/pkg/serviceregistry/ambient/waypoints.go of Istio 1.31.
 */

import { GATEWAY_NAME, MANAGED_GATEWAY, MESH_CONTROLLER, type MeshProxy } from '../mesh/proxy.ts';
import type { MeshView } from '../mesh/view.ts';
import type { KubernetesGateway } from '../object/gateway-api.ts';
import type { Service } from '../object/kubernetes.ts';
import { items, labels } from '../object/members.ts';
import type { EnvoyFilter, ProxyExtension } from '../object/networking.ts';
import type { Labels } from '../object/object.ts';
import { selects, selectsByExpressions, targetRefs } from '../object/selection.ts';
import { attaches } from './attach.ts';

export const WAYPOINT_CLASS = 'istio-waypoint';
const USE = 'istio.io/use-waypoint';
const USE_NAMESPACE = 'istio.io/use-waypoint-namespace';
const CANARY = 'istio.io/use-waypoint-canary';
const FOR_GATEWAYS = 'istio.io/ingress-use-waypoint';
const TRAFFIC = 'istio.io/waypoint-for';
const SERVICE_ACCOUNT = 'gateway.istio.io/service-account';
const HBONE_PORT = 15008;

export interface Waypoint {
  readonly gateway: KubernetesGateway;
  readonly proxy: MeshProxy;
  /** Principals of its Pods, with which it calls workloads. */
  readonly principals: readonly string[];
}

/** Waypoint of a Service, if it has one, or the reason why that is not known. */
export type ServiceWaypoint =
  | { readonly waypoint: Waypoint; readonly unknown?: undefined }
  | { readonly waypoint?: undefined; readonly unknown: string };

/**
 * Finds the waypoint of a Service. Callers in ambient mode that call the Service by its address go through it. All others
 * connect to the Pods.
 * @returns undefined if the Service has none, so that calls go straight to the ztunnel of a Pod
 * @example
 * ```ts
 * import { loadManifests, serviceWaypoint, viewMesh } from '@meshpass/istio';
 * const service = `{apiVersion: v1, kind: Service, metadata: {name: orders, namespace: shop, labels: {istio.io/use-waypoint: gate}},
 *   spec: {selector: {app: orders}, ports: [{port: 80}]}}`;
 * const gate = `{apiVersion: gateway.networking.k8s.io/v1, kind: Gateway, metadata: {name: gate, namespace: shop},
 *   spec: {gatewayClassName: istio-waypoint}}`;
 * const view = viewMesh(loadManifests(`${service}\n---\n${gate}`, 'mesh.yaml').resources);
 * serviceWaypoint(view, view.all('Service')[0]!)?.waypoint?.principals; // => ['cluster.local/ns/shop/sa/gate']
 * ```
 */
export function serviceWaypoint(
  view: MeshView,
  service: Pick<Service, 'metadata' | 'spec'>,
): ServiceWaypoint | undefined {
  const { name, namespace } = service.metadata;
  const own = labels(service.metadata.labels);
  // A headless Service has no address of its own: callers connect to its Pods.
  if (own[MANAGED_GATEWAY] !== undefined || service.spec.clusterIP === 'None') return undefined;
  const ofNamespace = view.namespaceLabels(namespace);
  const place = [own, ofNamespace ?? {}].find((one) => one[USE] !== undefined);
  const wanted = place?.[USE];
  if (!place || !wanted || wanted === 'none') return undefined;
  if (place[CANARY]) return { unknown: `${CANARY} sends some calls to ${name}.${namespace} to another waypoint` };
  const home = place[USE_NAMESPACE] ?? namespace;
  const gateway = view.within('KubernetesGateway', home).find(({ metadata }) => metadata.name === wanted);
  if (!gateway) return { unknown: `the Gateway of waypoint ${home}/${wanted} was not read` };
  const { gatewayClassName } = gateway.spec;
  if (gatewayClassName !== WAYPOINT_CLASS)
    return { unknown: `waypoint ${home}/${wanted} has the class ${gatewayClassName}, not ${WAYPOINT_CLASS}` };
  if (!servesServices(view, gateway)) return undefined;
  const allows = allowsFrom(gateway, namespace, ofNamespace);
  if (allows === undefined)
    return { unknown: `Namespace ${namespace}, whose labels waypoint ${home}/${wanted} selects, was not read` };
  if (!allows) return undefined;
  const waypoint = waypointOf(view, gateway);
  const unknown = whyPatched(view, waypoint, service);
  return unknown === undefined ? { waypoint } : { unknown };
}

/**
 * Whether calls of gateways to a Service go through its waypoint.
 * @example
 * ```ts
 * import { gatewaysUseWaypoint, loadManifests, viewMesh } from '@meshpass/istio';
 * const service = `{apiVersion: v1, kind: Service, metadata: {name: orders, namespace: shop, labels: {istio.io/ingress-use-waypoint: 'true'}},
 *   spec: {ports: [{port: 80}]}}`;
 * const view = viewMesh(loadManifests(service, 'mesh.yaml').resources);
 * gatewaysUseWaypoint(view, view.all('Service')[0]!); // => true
 * ```
 */
export function gatewaysUseWaypoint(view: MeshView, { metadata }: Service): boolean {
  const value = labels(metadata.labels)[FOR_GATEWAYS] ?? view.namespaceLabels(metadata.namespace)?.[FOR_GATEWAYS];
  return /^(?:1|t|T|TRUE|true|True)$/.test(value ?? '');
}

/**
 * Whether calls to a Pod's own address go through a waypoint.
 * @param given labels of the Pod
 * @example
 * ```ts
 * import { podUsesWaypoint, viewMesh } from '@meshpass/istio';
 * podUsesWaypoint(viewMesh([]), 'shop', { 'istio.io/use-waypoint': 'none' }); // => false
 * ```
 */
export function podUsesWaypoint(view: MeshView, namespace: string, given: Labels): boolean {
  const place = [given, view.namespaceLabels(namespace) ?? {}].find((one) => one[USE] !== undefined);
  const wanted = place?.[USE];
  if (!place || !wanted || wanted === 'none') return false;
  const gateway = view
    .within('KubernetesGateway', place[USE_NAMESPACE] ?? namespace)
    .find(({ metadata }) => metadata.name === wanted);
  // The label of a Namespace is meant for Services, unless the waypoint says otherwise.
  return gateway ? ['workload', 'all'].includes(trafficOf(view, gateway)) : place === given;
}

function servesServices(view: MeshView, gateway: KubernetesGateway): boolean {
  return ['service', 'all'].includes(trafficOf(view, gateway));
}

function trafficOf(view: MeshView, { metadata, spec }: KubernetesGateway): string {
  const ofClass = view.all('GatewayClass').find((one) => one.metadata.name === spec.gatewayClassName);
  return labels(metadata.labels)[TRAFFIC] ?? labels(ofClass?.metadata.labels)[TRAFFIC] ?? 'service';
}

/** Whether Services of a namespace may use a waypoint. Undefined if its labels decide and were not read. */
function allowsFrom(
  { metadata, spec }: KubernetesGateway,
  namespace: string,
  ofNamespace: Labels | undefined,
): boolean | undefined {
  const listener = items(spec.listeners).find(({ protocol, port }) => protocol === 'HBONE' && port === HBONE_PORT);
  const { from = 'Same', selector } = listener?.allowedRoutes?.namespaces ?? {};
  if (from === 'All') return true;
  if (from !== 'Selector') return metadata.namespace === namespace;
  return ofNamespace && selectsByExpressions(selector, ofNamespace);
}

function waypointOf(view: MeshView, gateway: KubernetesGateway): Waypoint {
  const { name, namespace, annotations } = gateway.metadata;
  const given = { [GATEWAY_NAME]: name, [MANAGED_GATEWAY]: MESH_CONTROLLER };
  const pods = view.podsIn(namespace).filter((one) => one.labels[GATEWAY_NAME] === name);
  const accounts = pods.map(({ serviceAccount }) => serviceAccount);
  // Istio creates the Pods with this account.
  const created = labels(annotations)[SERVICE_ACCOUNT] ?? name;
  return {
    gateway,
    proxy: { namespace, labels: given, kind: 'waypoint' },
    principals: [...new Set(accounts.length > 0 ? accounts : [created])].map(
      (account) => `${view.config.trustDomain}/ns/${namespace}/sa/${account}`,
    ),
  };
}

/** Explains which object changes the waypoint, and may change which calls it accepts. */
function whyPatched(
  view: MeshView,
  { proxy, gateway }: Waypoint,
  { metadata }: Pick<Service, 'metadata'>,
): string | undefined {
  const root = view.config.rootNamespace;
  const service = { kind: 'Service', namespace: metadata.namespace, name: metadata.name } as const;
  const places = [...new Set([root, proxy.namespace, metadata.namespace])];
  const patch = places
    .flatMap((place): readonly (EnvoyFilter | ProxyExtension)[] => [
      ...view.within('EnvoyFilter', place),
      ...view.within('WasmPlugin', place),
      ...view.within('TrafficExtension', place),
    ])
    .find((one) => {
      if (targetRefs(one.spec).length > 0) return attaches(one as Parameters<typeof attaches>[0], proxy, root, service);
      const isOwn = one.metadata.namespace === root || one.metadata.namespace === proxy.namespace;
      return one.kind === 'EnvoyFilter' && isOwn && changesAny(one, proxy);
    });
  return (
    patch &&
    `${patch.kind} ${patch.metadata.namespace}/${patch.metadata.name} changes waypoint ${gateway.metadata.namespace}/${gateway.metadata.name} and may change which calls it accepts`
  );
}

/** Whether an EnvoyFilter without `targetRefs` changes every kind of proxy, and so perhaps a waypoint. */
function changesAny({ spec }: EnvoyFilter, proxy: MeshProxy): boolean {
  return (
    selects(spec.workloadSelector?.labels, proxy.labels) &&
    items(spec.configPatches).some(({ applyTo, match }) => applyTo !== 'CLUSTER' && (match?.context ?? 'ANY') === 'ANY')
  );
}
