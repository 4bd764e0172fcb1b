import { memoize } from '@meshpass/identity';
import { type Labels, type MeshView, proxyOfPod, type Service } from '@meshpass/istio';
import { labels } from '@meshpass/istio/members';
import type { EntryProxy } from '../exposure.ts';

type ControllerProxy = EntryProxy & { readonly by: 'controller' };

/**
 * The names (`app.kubernetes.io/name` or `app`) of proxies and controllers whose routes are defined by other objects.
 */
const CONTROLLERS = new Set([
  ...[
    'ingress-nginx',
    'nginx-ingress',
    'nginx-gateway-fabric',
    'traefik',
    'kong',
    'contour',
    'envoy',
    'haproxy-ingress',
  ],
  ...['kubernetes-ingress', 'emissary-ingress', 'ambassador', 'gloo', 'apisix', 'skipper', 'voyager', 'envoy-gateway'],
  ...['meshpass', 'istio-ingressgateway', 'istio-eastwestgateway', 'istio-egressgateway', 'istio-ingress'],
]);

/**
 * Checks whether a Service belongs to a gateway or an ingress controller. Such a Service is not reported as an exposure
 * itself, because every route of the gateway is reported as one.
 */
export function isGatewayService(mesh: MeshView, service: Service): boolean {
  return answersOf(mesh)(service);
}

const answersOf = memoize((mesh: MeshView) =>
  memoize((service: Service): boolean => {
    const selector = labels(service.spec.selector);
    // Only the selector is considered. The Service's own labels do not show which Pods it selects.
    if (isController(selector)) return true;
    if (Object.keys(selector).length > 0 && mesh.proxyKind(selector) !== 'sidecar') return true;
    return mesh.podsBehind(service).some(isGatewayPod);
  }),
);

/**
 * Checks whether a Pod runs a gateway, either of Istio (by its label or injection template) or of another known
 * controller.
 */
export function isGatewayPod(pod: {
  readonly kind: string;
  readonly labels: Labels;
  readonly annotations: Labels;
}): boolean {
  return (
    pod.kind !== 'sidecar' ||
    isController(pod.labels) ||
    /\bgateway\b/.test(pod.annotations['inject.istio.io/templates'] ?? '')
  );
}

/** Describes the proxy of a controller other than Istio, which is identified by the name of its class. */
export function controllerProxy(mesh: MeshView, className: string): ControllerProxy {
  const meshed = controllersIn(mesh).filter(({ labels: given }) =>
    [given['app.kubernetes.io/name'], given.app].some((name) => name?.split('-').includes(className)),
  );
  return { by: 'controller', name: `class ${className}`, ...(meshed.length > 0 && { meshed }) };
}

/** Lists the Pods that belong to a controller and have a mesh proxy. */
const controllersIn = memoize((mesh: MeshView) =>
  mesh.pods.filter((pod) => {
    if (pod.kind !== 'sidecar' || !isController(pod.labels)) return false;
    const found = proxyOfPod(mesh, pod);
    return found.proxy === 'sidecar' && !found.assumed;
  }),
);

function isController(given: Labels): boolean {
  const names = [given['app.kubernetes.io/name'], given.app];
  if (names.some((name) => name !== undefined && CONTROLLERS.has(name))) return true;
  if (given['gateway.envoyproxy.io/owning-gateway-name'] !== undefined) return true;
  return /^(?:ingress|egress|eastwest)(?:gateway)?$/.test(given.istio ?? '');
}
