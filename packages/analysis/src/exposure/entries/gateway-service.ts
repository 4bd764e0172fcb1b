import { memoize } from '@meshpass/identity/memory/remembered';
import { type Labels, type MeshView, type PodWorkload, proxyOfPod, type Service } from '@meshpass/istio';
import { labels } from '@meshpass/istio/members';

/** Names (`app.kubernetes.io/name`, `app`) of proxies and controllers whose routes are separate objects. */
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
 * Whether a Service belongs to a gateway or an ingress controller. It exposes nothing by itself: the routes of the
 * gateway do, each an exposure of its own.
 */
export function isGatewayService(mesh: MeshView, service: Service): boolean {
  return answersOf(mesh)(service);
}

const answersOf = memoize((mesh: MeshView) =>
  memoize((service: Service): boolean => {
    const selector = labels(service.spec.selector);
    // Labels of the Service itself, and the name of a release, do not show which Pods it leads to.
    if (isController(selector)) return true;
    if (Object.keys(selector).length > 0 && mesh.proxyKind(selector) !== 'sidecar') return true;
    return mesh.podsBehind(service).some(isGatewayPod);
  }),
);

/** Whether Pods are a gateway: of Istio, by label or by the injected template, or of another known controller. */
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

/** Lists the Pods of a controller that have a proxy of the mesh, by the name of the class that it serves. */
export function meshedPods(mesh: MeshView, className: string): readonly PodWorkload[] {
  return controllersIn(mesh).filter(({ labels: given }) =>
    [given['app.kubernetes.io/name'], given.app].some((name) => name?.split('-').includes(className)),
  );
}

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
