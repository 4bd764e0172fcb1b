/**
 * Determines the waypoint that handles calls to a Service, and the identity that the waypoint uses to forward them.
 * Source: pilot/pkg/serviceregistry/ambient/waypoints.go of Istio 1.31.
 */

import { GATEWAY_NAME, MANAGED_GATEWAY_LABEL, type MeshProxy, WAYPOINT_CONTROLLER } from '../mesh/proxy.ts';
import type { MeshView } from '../mesh/view.ts';
import type { KubernetesGateway } from '../object/gateway-api.ts';
import type { Service } from '../object/kubernetes.ts';
import { items, labels } from '../object/members.ts';
import type { EnvoyFilter, ProxyExtension } from '../object/networking.ts';
import type { Labels } from '../object/object.ts';
import { identityOf } from '../object/order.ts';
import { selects, selectsByExpressions, targetRefs, whyRestricted } from '../object/selection.ts';
import { type AttachedService, attaches, authorizationPolicies, requestAuthentications } from './attach.ts';

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
  /** The principals of the waypoint's Pods. The waypoint uses them when it calls workloads. */
  readonly principals: readonly string[];
}

/** A Service's waypoint, or the reason why it is unknown. */
export type ServiceWaypoint =
  | { readonly waypoint: Waypoint; readonly unknown?: undefined }
  | { readonly waypoint?: undefined; readonly unknown: string };

/**
 * Finds a Service's waypoint. Callers in ambient mode that use the Service's address go through the waypoint, while all
 * other callers connect to the Pods.
 * @returns the waypoint, or undefined if the Service has none and calls go directly to the ztunnel of a Pod
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
  // A headless Service does not have an address of its own, so callers connect to its Pods.
  if (own[MANAGED_GATEWAY_LABEL] !== undefined || service.spec.clusterIP === 'None') return undefined;
  const ofNamespace = view.namespaceLabels(namespace);
  const named = namedWaypoint(view, namespace, own);
  if (!named) {
    const isDecided = own[USE] !== undefined || ofNamespace !== undefined;
    return isDecided ? undefined : { unknown: describeUnread(namespace) };
  }
  const home = named.namespace;
  const described = `waypoint ${home}/${named.name}`;
  if (named.hasCanary) return { unknown: `${CANARY} sends some calls to ${name}.${namespace} to another waypoint` };
  const gateway = gatewayOf(view, named);
  if (!gateway) return { unknown: `the Gateway of ${described} was not read` };
  const { gatewayClassName } = gateway.spec;
  if (gatewayClassName !== WAYPOINT_CLASS)
    return { unknown: `${described} has the class ${gatewayClassName}, not ${WAYPOINT_CLASS}` };
  if (!servesServices(view, gateway)) return undefined;
  const allows = allowsFrom(gateway, namespace, ofNamespace);
  if (allows === undefined)
    return { unknown: `Namespace ${namespace}, whose labels ${described} selects, was not read` };
  if (!allows) return undefined;
  const waypoint = waypointOf(view, gateway);
  const attached = { kind: 'Service', namespace, name } as const;
  const unknown = whyPatched(view, waypoint, attached) ?? whyRevised(view, waypoint, attached);
  return unknown === undefined ? { waypoint } : { unknown };
}

/**
 * Whether gateways send their calls to a Service through its waypoint.
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
 * Explains why it is unknown which waypoint handles calls to the address of a Pod in ambient mode. Returns undefined if
 * no waypoint does.
 * @param given the labels of the Pod
 * @example
 * ```ts
 * import { viewMesh, whyPodWaypoint } from '@meshpass/istio';
 * whyPodWaypoint(viewMesh([]), 'shop', { 'istio.io/use-waypoint': 'none' }); // => undefined
 * ```
 */
export function whyPodWaypoint(view: MeshView, namespace: string, given: Labels): string | undefined {
  const named = namedWaypoint(view, namespace, given);
  if (!named) {
    const isDecided = given[USE] !== undefined || view.namespaceLabels(namespace) !== undefined;
    return isDecided ? undefined : describeUnread(namespace);
  }
  const gateway = gatewayOf(view, named);
  if (!gateway) return `the Gateway of waypoint ${named.namespace}/${named.name} was not read`;
  const isUsed = ['workload', 'all'].includes(trafficOf(view, gateway));
  return isUsed ? 'a waypoint takes the calls to its own address, too, which is not evaluated' : undefined;
}

/** A waypoint that labels refer to. It might not exist, or might not serve the labelled object. */
interface NamedWaypoint {
  readonly namespace: string;
  readonly name: string;
  /** Whether some of the calls go to another waypoint. */
  readonly hasCanary: boolean;
}

/**
 * Returns the waypoint named by a Service or Pod, or otherwise the one named by its Namespace.
 * @param given the labels of the Service or Pod
 * @example
 * ```ts
 * import { namedWaypoint, viewMesh } from '@meshpass/istio';
 * namedWaypoint(viewMesh([]), 'shop', { 'istio.io/use-waypoint': 'gate' })?.namespace; // => 'shop'
 * ```
 */
export function namedWaypoint(view: MeshView, namespace: string, given: Labels): NamedWaypoint | undefined {
  const place = [given, view.namespaceLabels(namespace) ?? {}].find((one) => one[USE] !== undefined);
  const name = place?.[USE];
  if (!place || !name || name === 'none') return undefined;
  return { namespace: place[USE_NAMESPACE] ?? namespace, name, hasCanary: Boolean(place[CANARY]) };
}

function gatewayOf(view: MeshView, { namespace, name }: NamedWaypoint): KubernetesGateway | undefined {
  return view.within('KubernetesGateway', namespace).find(({ metadata }) => metadata.name === name);
}

function describeUnread(namespace: string): string {
  return `Namespace ${namespace}, which may name a waypoint, was not read`;
}

function servesServices(view: MeshView, gateway: KubernetesGateway): boolean {
  return ['service', 'all'].includes(trafficOf(view, gateway));
}

function trafficOf(view: MeshView, { metadata, spec }: KubernetesGateway): string {
  const ofClass = view.all('GatewayClass').find((one) => one.metadata.name === spec.gatewayClassName);
  return labels(metadata.labels)[TRAFFIC] ?? labels(ofClass?.metadata.labels)[TRAFFIC] ?? 'service';
}

/**
 * Whether Services in a namespace may use a waypoint. Returns undefined if this depends on the namespace's labels and
 * they were not read.
 */
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
  const given = { [GATEWAY_NAME]: name, [MANAGED_GATEWAY_LABEL]: WAYPOINT_CONTROLLER };
  const pods = view.podsIn(namespace).filter((one) => one.labels[GATEWAY_NAME] === name);
  const accounts = pods.map(({ serviceAccount }) => serviceAccount);
  // Istio runs the Pods that it creates under this ServiceAccount.
  const created = labels(annotations)[SERVICE_ACCOUNT] ?? name;
  return {
    gateway,
    proxy: { namespace, labels: given, kind: 'waypoint' },
    principals: [...new Set(accounts.length > 0 ? accounts : [created])].map(
      (account) => `${view.config.trustDomain}/ns/${namespace}/sa/${account}`,
    ),
  };
}

/** Explains which object modifies the waypoint and could therefore change which calls it accepts. */
function whyPatched(view: MeshView, { proxy, gateway }: Waypoint, service: AttachedService): string | undefined {
  const root = view.config.rootNamespace;
  const places = [...new Set([root, proxy.namespace, service.namespace])];
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
  const { name, namespace } = gateway.metadata;
  return patch && `${identityOf(patch)} changes waypoint ${namespace}/${name} and may change which calls it accepts`;
}

/** Explains which policy at the waypoint is only enforced by some istiods. */
function whyRevised(view: MeshView, { proxy }: Waypoint, service: AttachedService): string | undefined {
  return [...authorizationPolicies(view, proxy, service), ...requestAuthentications(view, proxy, service)]
    .map(whyRestricted)
    .find((why) => why !== undefined);
}

/** Whether an EnvoyFilter without `targetRefs` modifies all kinds of proxies, and so possibly a waypoint. */
function changesAny({ spec }: EnvoyFilter, proxy: MeshProxy): boolean {
  return (
    selects(spec.workloadSelector?.labels, proxy.labels) &&
    items(spec.configPatches).some(({ applyTo, match }) => applyTo !== 'CLUSTER' && (match?.context ?? 'ANY') === 'ANY')
  );
}
