/**
 * Finds Gateway API listeners and the routes that attach to them. Source: the `Listener`, `ParentReference` and
 * `ListenerSet` references.
 */

import { memoize } from '@meshpass/identity';
import {
  type AllowedNamespaces,
  coversHost,
  GATEWAY_NAME,
  type GatewayListener,
  hostsMeet,
  type KubeObject,
  type KubernetesGateway,
  type ListenerSet,
  type MeshView,
  oldestFirst,
  type ParentRef,
  type Path,
  selectsByExpressions,
} from '@meshpass/istio';
import { items, labels, record, text, texts } from '@meshpass/istio/members';
import { parseAddress } from '../../address.ts';
import { manifestKind } from '../describe.ts';
import type { EntryPoint, EntryProxy, Identity } from '../exposure.ts';
import { uncheckedGateway, whyInternalAnnotation } from '../internal.ts';
import { controllerProxy } from './gateway-service.ts';

export const GATEWAY_GROUP = 'gateway.networking.k8s.io';

/**
 * The classes of proxies inside the mesh, namely waypoints and east-west gateways. They do not accept calls from
 * outside.
 */
const INSIDE = new Set(['istio-waypoint', 'istio-remote', 'istio-east-west']);

const ISTIO_CONTROLLER = 'istio.io/gateway-controller';

/** Matches the names of classes that controllers other than Istio install. */
const FOREIGN =
  /^(?:nginx|eg|envoy-?gateway|cilium|traefik|kong|contour|haproxy|gke-|azure-alb|amazon-vpc-lattice|alb|apisix)/;

/** The route kinds that each protocol supports. A listener that lists no kinds accepts all of these. */
const KINDS_OF: Readonly<Record<string, readonly string[]>> = {
  HTTP: ['HTTPRoute', 'GRPCRoute'],
  HTTPS: ['HTTPRoute', 'GRPCRoute'],
  TLS: ['TLSRoute', 'TCPRoute'],
  TCP: ['TCPRoute'],
  UDP: ['UDPRoute'],
};

/**
 * Listeners whose protocols have the same value here can share a port as long as their hosts differ. UDP ports are
 * separate from TCP ports.
 */
const SHARED_BY: Readonly<Record<string, string>> = { HTTP: 'HTTP', HTTPS: 'TLS', TLS: 'TLS', TCP: 'TCP' };

/** A listener of a Gateway, or of a ListenerSet that the Gateway accepts. */
export interface EffectiveListener {
  readonly gateway: KubernetesGateway;
  /** The Gateway or ListenerSet that defines the listener. */
  readonly on: KubernetesGateway | ListenerSet;
  readonly path: Path;
  readonly listener: GatewayListener;
}

/** An object that attaches to Gateways through its `parentRefs`. */
interface Attached extends KubeObject {
  readonly spec: { readonly parentRefs?: readonly ParentRef[]; readonly hostnames?: readonly string[] };
}

/** An entry point for a route, and the hosts that the route has in common with the listeners. */
export interface RouteAttachment {
  readonly entry: EntryPoint;
  /** The listeners that the route attaches to. Empty if the Gateway is not in the files. */
  readonly met: readonly EffectiveListener[];
  readonly hosts: readonly string[];
}

/**
 * Matches the waypoint classes of other controllers, such as `agentgateway-waypoint`. A waypoint must also have a
 * label.
 */
const WAYPOINT_CLASS = /(?:^|-)waypoint$/;

/**
 * Checks whether a Gateway accepts calls from outside the mesh. HBONE is only used within the mesh. A waypoint label
 * does not turn a Gateway of class `istio` into a waypoint, because Istio always deploys that class to accept calls
 * from outside.
 */
export function isEntryGateway({ metadata, spec }: KubernetesGateway): boolean {
  const name = String(spec.gatewayClassName);
  const isWaypoint = WAYPOINT_CLASS.test(name) && labels(metadata.labels)['istio.io/waypoint-for'] !== undefined;
  return !INSIDE.has(name) && !isWaypoint && !items(spec.listeners).some(({ protocol }) => protocol === 'HBONE');
}

/**
 * Lists the listeners of a Gateway, including those of ListenerSets. The Gateway's own listeners come first, followed
 * by ListenerSets from oldest to newest. If two listeners conflict, the later one is rejected.
 */
export function listenersOf(mesh: MeshView, gateway: KubernetesGateway): readonly EffectiveListener[] {
  const sets = oldestFirst<ListenerSet>([...mesh.all('ListenerSet'), ...mesh.all('XListenerSet')]).filter(
    (set) =>
      parentIs(set.spec.parentRef, set, gateway) &&
      admits(mesh, gateway.spec.allowedListeners?.namespaces ?? { from: 'None' }, gateway, set.metadata.namespace),
  );
  const accepted: EffectiveListener[] = [];
  for (const on of [gateway, ...sets]) {
    const own = items(on.spec.listeners).map(
      (listener, index): EffectiveListener => ({ gateway, on, listener, path: ['spec', 'listeners', index] }),
    );
    const earlier = [...accepted];
    accepted.push(...own.filter((at) => !earlier.some((one) => conflict(one.listener, at.listener))));
  }
  return accepted;
}

/** Checks whether two listeners conflict on a port, because they have different protocols or the same host. */
function conflict(one: GatewayListener, other: GatewayListener): boolean {
  const [first, second] = [one, other].map(({ protocol }) => SHARED_BY[String(protocol)]);
  if (one.port === undefined || one.port !== other.port || !first || !second) return false;
  return first !== second || first === 'TCP' || (one.hostname ?? '*') === (other.hostname ?? '*');
}

/** Lists the Gateways that a route attaches to, leaving out those inside the mesh. */
export function routeAttachments(mesh: MeshView, route: Attached): readonly RouteAttachment[] {
  const parents = items(route.spec.parentRefs).filter(isGateway);
  const { byParent, order } = listenersIn(mesh);
  const met = parents.flatMap((parent) =>
    (byParent.get(parentKey(parent, route)) ?? []).filter(
      (at) => isMeant(parent, at) && accepts(mesh, at, route) && commonHosts(at.listener, route).length > 0,
    ),
  );
  const inOrder = [...new Set(met)].sort((a, b) => order.get(a)! - order.get(b)!);
  const known = [...Map.groupBy(inOrder, ({ gateway }) => gateway)].map(([gateway, some]) => ({
    entry: entryPointOf(mesh, gateway, some),
    met: some,
    hosts: [...new Set(some.flatMap(({ listener }) => commonHosts(listener, route)))],
  }));
  const isElsewhere = (parent: ParentRef) => !isKnown(mesh, parent, route) && !isWaypointName(mesh, parent, route);
  const hosts = texts(route.spec.hostnames);
  const missing = parents
    .filter(isElsewhere)
    .map((parent) => ({ entry: unknownEntry(parent, route), met: [], hosts: hosts.length > 0 ? hosts : ['*'] }));
  return [...known, ...missing];
}

/** Lists the listeners of all Gateways that accept calls from outside the mesh, Gateway by Gateway. */
export const entryListeners = memoize((mesh: MeshView): readonly EffectiveListener[] =>
  mesh
    .all('KubernetesGateway')
    .filter(isEntryGateway)
    .flatMap((gateway) => listenersOf(mesh, gateway)),
);

/** Indexes the listeners by the object that defines them, because a mesh can contain many routes and many listeners. */
const listenersIn = memoize((mesh: MeshView) => {
  const all = entryListeners(mesh);
  return {
    byParent: Map.groupBy(all, ({ on }) => parentKey({ kind: manifestKind(on.kind), name: on.metadata.name }, on)),
    order: new Map(all.map((at, index) => [at, index])),
  };
});

function parentKey({ kind = 'Gateway', namespace, name }: ParentRef, { metadata }: KubeObject): string {
  return `${kind} ${namespace ?? metadata.namespace}/${name}`;
}

function isGateway({ group = GATEWAY_GROUP, kind = 'Gateway', name }: ParentRef): boolean {
  if (name === undefined) return false;
  return (group === GATEWAY_GROUP && kind === 'Gateway') || kind === 'ListenerSet' || kind === 'XListenerSet';
}

function isKnown(mesh: MeshView, { kind = 'Gateway', namespace, name }: ParentRef, { metadata }: KubeObject): boolean {
  const place = namespace ?? metadata.namespace;
  const own = kind === 'Gateway' ? 'KubernetesGateway' : (kind as 'ListenerSet' | 'XListenerSet');
  return mesh.within(own, place).some((one) => one.metadata.name === name);
}

/**
 * Checks whether a Gateway that is not in the files is a waypoint. It is one if a namespace label refers to it, or if
 * it has the default name that istioctl uses.
 */
function isWaypointName(mesh: MeshView, { namespace, name }: ParentRef, { metadata }: KubeObject): boolean {
  const place = namespace ?? metadata.namespace;
  return name === 'waypoint' || mesh.namespaceLabels(place)?.['istio.io/use-waypoint'] === name;
}

function parentIs({ namespace, name }: ParentRef = {}, from: KubeObject, to: KubeObject): boolean {
  return name === to.metadata.name && (namespace ?? from.metadata.namespace) === to.metadata.namespace;
}

function isMeant({ sectionName, port }: ParentRef, { listener }: EffectiveListener): boolean {
  return (sectionName === undefined || sectionName === listener.name) && (port === undefined || port === listener.port);
}

/** Checks whether a listener accepts routes of this kind and from this namespace. */
function accepts(mesh: MeshView, { on, listener }: EffectiveListener, route: KubeObject): boolean {
  return (
    acceptsKind(listener, route.kind) &&
    admits(mesh, listener.allowedRoutes?.namespaces ?? { from: 'Same' }, on, route.metadata.namespace)
  );
}

/** Checks whether a listener allows a route kind, and whether the listener's protocol supports that kind. */
function acceptsKind({ allowedRoutes, protocol }: GatewayListener, kind: string): boolean {
  const listed = items(allowedRoutes?.kinds);
  const isListed = listed.length === 0 || listed.some((one) => one.kind === kind);
  return isListed && (KINDS_OF[String(protocol)]?.includes(kind) ?? true);
}

/**
 * Checks whether a listener cannot accept any routes, because its protocol supports none of the Gateway API kinds that
 * it allows.
 */
export function hasNoSupportedKind({ allowedRoutes, protocol }: GatewayListener): boolean {
  const listed = items(allowedRoutes?.kinds);
  const supported = KINDS_OF[String(protocol)] ?? Object.values(KINDS_OF).flat();
  return (
    listed.length > 0 &&
    listed.every(({ group = GATEWAY_GROUP, kind = '' }) => group === GATEWAY_GROUP && !supported.includes(kind))
  );
}

/**
 * Checks whether routes from a namespace may attach. If the Namespace is not in the files, only its name can be
 * compared.
 */
function admits(
  mesh: MeshView,
  { from = 'Same', selector }: AllowedNamespaces,
  on: KubeObject,
  place: string,
): boolean {
  if (from === 'All') return true;
  if (from === 'Same') return place === on.metadata.namespace;
  if (from !== 'Selector') return false;
  const known = mesh.namespaceLabels(place);
  return selectsByExpressions(known === undefined ? byName(selector) : selector, { [NAME]: place, ...known });
}

/** The label that the API server sets on every Namespace. */
const NAME = 'kubernetes.io/metadata.name';

type Selector = NonNullable<AllowedNamespaces['selector']>;

/** Reduces a selector to the part that selects Namespaces by name. */
function byName({ matchLabels, matchExpressions }: Selector = {}): Selector {
  const { [NAME]: name } = labels(matchLabels);
  return {
    ...(name !== undefined && { matchLabels: { [NAME]: name } }),
    matchExpressions: items(matchExpressions).filter(({ key }) => key === NAME),
  };
}

/** Returns the hosts that a listener and a route have in common. TCP connections have no host. */
export function commonHosts(
  { hostname = '*', protocol }: GatewayListener,
  { spec, kind }: Attached,
): readonly string[] {
  if (protocol === 'TCP' || kind === 'TCPRoute') return ['*'];
  const hosts = texts(spec.hostnames);
  if (hosts.length === 0) return [hostname];
  return hosts
    .filter((host) => hostsMeet(host, hostname))
    .map((host) => (coversHost(hostname, host) ? host : hostname));
}

/** Creates the entry point for the given listeners of a Gateway. */
export function entryPointOf(
  mesh: MeshView,
  gateway: KubernetesGateway,
  met: readonly EffectiveListener[],
): EntryPoint {
  const { metadata, spec } = gateway;
  const proxy = proxyOf(mesh, gateway);
  const annotated = { ...labels(metadata.annotations), ...labels(spec.infrastructure?.annotations) };
  const reach = reachOf(mesh, gateway, proxy);
  return {
    kind: 'KubernetesGateway',
    name: `${metadata.namespace}/${metadata.name}`,
    object: gateway,
    ports: met.map(({ listener }) => ({ number: listener.port, protocol: listener.protocol })),
    proxy,
    own: met.length > 0 && met.every((at) => requiresCertificate(gateway, at)) ? CERTIFICATE : reach.own,
    internal: whyInternalAnnotation(annotated) ?? reach.internal,
  };
}

type GatewayProxy = Exclude<EntryProxy, { readonly by: 'none' }>;

/**
 * Finds the Pods of a Gateway. Istio deploys and labels them, unless the Gateway's address is the host name of a
 * Service.
 */
function proxyOf(mesh: MeshView, { metadata, spec }: KubernetesGateway): GatewayProxy {
  const name = text(spec.gatewayClassName) ?? '?';
  const known = mesh.all('GatewayClass').find((one) => one.metadata.name === name)?.spec.controllerName;
  if (known === undefined ? !/^istio(?:-|$)/.test(name) : known !== ISTIO_CONTROLLER) {
    const assumed = known === undefined && !FOREIGN.test(name);
    return { ...controllerProxy(mesh, name), ...(assumed && { assumed }) };
  }
  const { namespace } = metadata;
  const address = items(spec.addresses).find(({ type }) => type === undefined || type === 'Hostname')?.value;
  const [service = '', place = namespace] = (address ?? '').split('.');
  const found = mesh.within('Service', place).find((one) => one.metadata.name === service);
  if (found) return { by: 'istio', namespace: place, selector: labels(found.spec.selector), confined: true };
  // If the address is a host name that belongs to no known Service, Istio does not deploy any Pods, and the actual Pods
  // are unknown.
  if (isHostname(address)) return { by: 'istio', namespace: place, selector: undefined };
  const account = `${metadata.name}-${name}`;
  return { by: 'istio', namespace, selector: { [GATEWAY_NAME]: metadata.name }, account, confined: true };
}

function isHostname(address: string | undefined): address is string {
  return address !== undefined && parseAddress(address) === undefined;
}

const CERTIFICATE: Identity = { state: 'required', reason: 'the Gateway requires a client certificate' };

/** Checks whether a listener requires a client certificate, either by frontend validation or by an Istio option. */
function requiresCertificate({ spec }: KubernetesGateway, { listener }: EffectiveListener): boolean {
  if (listener.protocol !== 'HTTPS' && listener.protocol !== 'TLS') return false;
  const mode = text(record(listener.tls?.options)['gateway.istio.io/tls-terminate-mode']);
  if (mode === 'MUTUAL' || mode === 'ISTIO_MUTUAL') return true;
  const { default: general, perPort } = spec.tls?.frontend ?? {};
  const { validation } = items(perPort).find(({ port }) => port === listener.port)?.tls ?? general ?? {};
  return (
    items(validation?.caCertificateRefs as readonly object[]).length > 0 && validation?.mode !== 'AllowInsecureFallback'
  );
}

/** Determines who reaches a Gateway that requires no client certificate. */
function reachOf(
  mesh: MeshView,
  { spec }: KubernetesGateway,
  proxy: GatewayProxy,
): Pick<EntryPoint, 'own' | 'internal'> {
  if (proxy.by === 'istio' && proxy.selector) {
    return uncheckedGateway(mesh, proxy, 'the Gateway requires no client certificate');
  }
  const reason =
    proxy.by === 'istio'
      ? `the Service ${spec.addresses![0]!.value} is not among these files`
      : `the checks of ${proxy.name} are not among Istio's policies`;
  return { own: { state: 'unknown', reason }, internal: undefined };
}

function unknownEntry({ kind = 'Gateway', namespace, name }: ParentRef, route: KubeObject): EntryPoint {
  const place = namespace ?? route.metadata.namespace;
  return {
    kind: 'KubernetesGateway',
    name: `${place}/${name}`,
    object: undefined,
    ports: [],
    proxy: { by: 'istio', namespace: place, selector: undefined },
    own: { state: 'unknown', reason: `${kind} ${place}/${name} is not among these files` },
    internal: undefined,
  };
}
