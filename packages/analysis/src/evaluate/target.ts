/** Parses the target of a call, and finds the workloads and ports that it refers to. */
import { createMemo, MeshpassError } from '@meshpass/identity';
import {
  type AttachedService,
  didYouMean,
  isTcp,
  type MeshView,
  type ResourceOf,
  selects,
  serviceWaypoint,
  standInFor,
  type Workload,
  whyPodWaypoint,
  workloadPorts,
} from '@meshpass/istio';
import { acceptsHbone } from '../caller-proxy.ts';
import { type Authorizer, createAuthorizer } from './authorizer.ts';
import { callerProxy, compileWaypointAuthorizer, type PortProxies } from './ways.ts';

export interface Endpoint extends PortProxies {
  /** The target as the user specified it, such as `orders.shop:80`. */
  readonly name: string;
  /** The port of the workload. */
  readonly port: number;
  /** The value that the `Host` header has by default. */
  readonly authority: string;
  /**
   * The reason why decisions about calls to this endpoint are unknown. Undefined if the endpoint is guarded by a
   * ztunnel or an unmodified sidecar.
   */
  readonly unknown?: string;
}

/**
 * Finds the endpoints that a target refers to. `orders.shop:80` and `orders.shop.svc.cluster.local:80` are Services,
 * and `shop/orders:8080` is a workload with its own port. A Service without known workloads is represented by a
 * placeholder whose labels are exactly those in the Service's selector.
 * @returns one endpoint for each workload behind the target
 * @throws MeshpassError `usage` if the target is malformed or does not exist
 * @example
 * ```ts
 * import { findEndpoints } from '@meshpass/analysis/evaluate';
 * import { loadManifests, viewMesh } from '@meshpass/istio';
 * const orders = `{apiVersion: v1, kind: Service, metadata: {name: orders, namespace: shop},
 *   spec: {selector: {app: orders}, ports: [{port: 80, name: http}]}}`;
 * const policy = `{apiVersion: security.istio.io/v1, kind: AuthorizationPolicy, metadata: {name: orders, namespace: shop},
 *   spec: {rules: [{from: [{source: {namespaces: [web]}}]}]}}`;
 * const view = viewMesh(loadManifests(`${orders}\n---\n${policy}`, 'shop.yaml').resources);
 * const [endpoint] = findEndpoints(view, 'orders.shop:80');
 * endpoint!.authority; // => 'orders.shop:80'
 * endpoint!.authorizer.policies.length; // => 1
 * ```
 */
export function findEndpoints(view: MeshView, text: string): readonly Endpoint[] {
  const [, place, number] = /^([^:]+?)(?::(\d{1,5}))?$/.exec(text) ?? [];
  if (!place)
    throw new MeshpassError(
      'usage',
      `${JSON.stringify(text)}: expected SERVICE.NAMESPACE:PORT or NAMESPACE/WORKLOAD:PORT.`,
    );
  const port = number === undefined ? undefined : Number(number);
  return place.includes('/') ? ofWorkload(view, place, port) : ofService(view, place, port);
}

/** Lists every port of every Service, once for each of the workloads behind it. */
export function allEndpoints(view: MeshView): readonly Endpoint[] {
  const once = createMemo();
  return view
    .all('Service')
    .flatMap((service) =>
      (service.spec.ports ?? []).filter(isTcp).flatMap(({ port }) => behind(view, service, port, once)),
    );
}

function ofService(view: MeshView, host: string, port: number | undefined): readonly Endpoint[] {
  const [name, namespace] = host.split('.');
  const services = view.all('Service');
  const service = services.find(({ metadata }) => metadata.name === name && metadata.namespace === namespace);
  if (!service) {
    const known = services.map(({ metadata }) => `${metadata.name}.${metadata.namespace}`);
    throw new MeshpassError(
      'usage',
      `The Service ${name}.${namespace ?? '?'} does not exist${didYouMean(`${name}.${namespace}`, known)}.`,
    );
  }
  const ports = (service.spec.ports ?? []).map((one) => one.port);
  if (port === undefined && ports.length !== 1)
    throw new MeshpassError('usage', `${name}.${namespace} has the ports ${ports.join(', ')}. Specify one.`);
  const wanted = port ?? ports[0]!;
  if (!ports.includes(wanted))
    throw new MeshpassError('usage', `${name}.${namespace} has no port ${wanted}, only ${ports.join(', ') || 'none'}.`);
  return behind(view, service, wanted, createMemo());
}

function ofWorkload(view: MeshView, place: string, port: number | undefined): readonly Endpoint[] {
  const [namespace, name] = place.split('/');
  const workload = view.workloads.find((one) => one.namespace === namespace && one.name === name);
  if (!workload) {
    const known = view.workloads.map((one) => `${one.namespace}/${one.name}`);
    throw new MeshpassError('usage', `The workload ${place} does not exist${didYouMean(place, known)}.`);
  }
  if (port === undefined) throw new MeshpassError('usage', `${place}: specify a port of the workload.`);
  const at = { name: `${place}:${port}`, authority: `${name}.${namespace}`, port };
  // This target is the Pod's own address instead of a Service.
  return [endpointOf(view, workload, createAuthorizer(view, workload), at, whyAddressedPod(view, workload))];
}

function behind(
  view: MeshView,
  service: ResourceOf<'Service'>,
  port: number,
  once: ReturnType<typeof createMemo>,
): readonly Endpoint[] {
  const { name, namespace } = service.metadata;
  const { selector = {} } = service.spec;
  const host = `${name}.${namespace}:${port}`;
  const at = { name: host, authority: host };
  const nobody = (why: string): Endpoint => {
    const standIn = standInFor(service, view.proxyKind);
    return { ...endpointOf(view, standIn, createAuthorizer(view, standIn), { ...at, port }), unknown: why };
  };
  if (service.spec.type === 'ExternalName' || Object.keys(selector).length === 0)
    return [nobody(`Service ${namespace}/${name} selects no Pods, so the workload behind it is unknown`)];
  const known = view.workloads.filter((one) => one.namespace === namespace && selects(selector, one.labels));
  return (known.length > 0 ? known : [standInFor(service, view.proxyKind)]).map((workload) => {
    const reached = [...workloadPorts(view, view.config, workload).values()].find(({ reachedAs }) =>
      reachedAs.includes(host),
    );
    if (!reached)
      return nobody(`${workload.namespace}/${workload.name} has no port with the name in the Service's targetPort`);
    const attached: AttachedService | undefined =
      workload.kind === 'waypoint' ? { kind: 'Service', namespace, name } : undefined;
    const authorizer = once(`${workload.namespace}/${workload.name}`, () =>
      createAuthorizer(view, workload, attached ? { service: attached } : {}),
    );
    // Callers of a headless Service connect directly to the addresses of its Pods.
    const why = service.spec.clusterIP === 'None' ? whyAddressedPod(view, workload) : undefined;
    const endpoint = endpointOf(view, workload, authorizer, { ...at, port: reached.port }, why);
    return endpoint.proxy === 'ztunnel' ? behindWaypoint(view, service, port, endpoint) : endpoint;
  });
}

/** @param unknown why decisions are unknown, which is only used if nothing about the workload makes them unknown */
function endpointOf(
  view: MeshView,
  workload: Workload,
  authorizer: Authorizer,
  at: Pick<Endpoint, 'name' | 'authority' | 'port'>,
  unknown?: string,
): Endpoint {
  const accepts = acceptsHbone(workload.labels);
  const isKnown = accepts || ('running' in workload && workload.running === true);
  const why = view.dataPlane().unknownAt(workload, at.port) ?? unknown;
  return {
    ...at,
    authorizer,
    proxy: view.dataPlane().proxyOf(workload),
    ...(isKnown && { acceptsHbone: accepts }),
    callerProxy: (principal) => callerProxy(view, principal),
    ...(why !== undefined && { unknown: why }),
  };
}

/** Adds the Service's waypoint to an endpoint. The waypoint's policies and JWT rules count as those of the endpoint. */
function behindWaypoint(view: MeshView, service: ResourceOf<'Service'>, port: number, endpoint: Endpoint): Endpoint {
  const found = serviceWaypoint(view, service);
  if (!found) return endpoint;
  if (found.unknown !== undefined) return { ...endpoint, unknown: endpoint.unknown ?? found.unknown };
  const waypoint = compileWaypointAuthorizer(view, found.waypoint, service, port);
  const { policies, tokenRules, protocolOf } = waypoint.authorizer;
  const { authorizer } = endpoint;
  return {
    ...endpoint,
    waypoint,
    authorizer: {
      ...authorizer,
      policies: [...policies, ...authorizer.policies],
      tokenRules,
      protocolOf: () => protocolOf(port),
    },
  };
}

/** Explains why a waypoint might handle the calls to a Pod's own address. Returns undefined if none does. */
function whyAddressedPod(view: MeshView, workload: Workload): string | undefined {
  return view.dataPlane().proxyOf(workload) === 'ztunnel'
    ? whyPodWaypoint(view, workload.namespace, workload.labels)
    : undefined;
}

/**
 * Lists the namespaces whose Pods are assumed to have a sidecar because no object contradicts this.
 * @example
 * ```ts
 * import { assumedNamespaces, findEndpoints } from '@meshpass/analysis/evaluate';
 * import { loadManifests, viewMesh } from '@meshpass/istio';
 * const orders = `{apiVersion: v1, kind: Service, metadata: {name: orders, namespace: shop},
 *   spec: {selector: {app: orders}, ports: [{port: 80, name: http}]}}`;
 * const policy = `{apiVersion: security.istio.io/v1, kind: AuthorizationPolicy, metadata: {name: orders, namespace: shop},
 *   spec: {rules: [{from: [{source: {namespaces: [web]}}]}]}}`;
 * const view = viewMesh(loadManifests(`${orders}\n---\n${policy}`, 'shop.yaml').resources);
 * assumedNamespaces(view, findEndpoints(view, 'orders.shop:80')); // => ['shop']
 * ```
 */
export function assumedNamespaces(view: MeshView, endpoints: readonly Endpoint[]): readonly string[] {
  const workloads = endpoints
    .filter(({ unknown }) => unknown === undefined)
    .map(({ authorizer }) => authorizer.workload);
  return [...new Set(workloads.filter(view.dataPlane().assumes).map(({ namespace }) => namespace))].sort();
}
