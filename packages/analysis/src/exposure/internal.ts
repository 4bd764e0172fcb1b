/**
 * Load balancers that only a private network reaches. Source: the annotations of the cloud providers' controllers
 * (AWS Load Balancer Controller, GKE, AKS, OpenStack, OCI, IBM Cloud, Alibaba Cloud), and the Service API reference.
 */

import { memory, remembered } from '@meshpass/identity/memory/remembered';
import { type HTTPRoute, type Labels, type MeshView, type Service, selects } from '@meshpass/istio';
import { items, labels, texts } from '@meshpass/istio/members';

/** Annotations with the values that make a load balancer internal. */
const INTERNAL: Readonly<Record<string, RegExp>> = {
  'service.beta.kubernetes.io/aws-load-balancer-internal': /^(?!false$)./,
  'service.beta.kubernetes.io/aws-load-balancer-scheme': /^internal$/,
  'networking.gke.io/load-balancer-type': /^internal$/i,
  'cloud.google.com/load-balancer-type': /^internal$/i,
  'service.beta.kubernetes.io/azure-load-balancer-internal': /^true$/i,
  'service.beta.kubernetes.io/openstack-internal-load-balancer': /^true$/i,
  'service.beta.kubernetes.io/oci-load-balancer-internal': /^true$/i,
  'service.kubernetes.io/ibm-load-balancer-cloud-provider-ip-type': /^private$/,
  'service.beta.kubernetes.io/alibaba-cloud-loadbalancer-address-type': /^intranet$/,
  'networking.istio.io/service-type': /^ClusterIP$/,
};

/** Explains which annotation makes a load balancer internal. */
export function whyInternalAnnotation(annotations: Labels | undefined): string | undefined {
  const given = labels(annotations);
  const name = Object.keys(INTERNAL).find((one) => INTERNAL[one]!.test(given[one] ?? ''));
  return name && `its load balancer is internal (${name}: ${given[name]})`;
}

/** Explains why the load balancer of a Service is not open to the internet. */
export function whyInternalService({ metadata, spec }: Service): string | undefined {
  if (spec.type !== 'LoadBalancer' || texts(spec.externalIPs).length > 0) return undefined;
  const ranges = texts(spec.loadBalancerSourceRanges);
  if (ranges.length > 0 && ranges.every(isNarrow)) return `only ${ranges.join(', ')} can reach its load balancer`;
  if (spec.loadBalancerClass === 'tailscale') return 'its load balancer is in a Tailscale network';
  return whyInternalAnnotation(metadata.annotations);
}

/** Explains why every known load balancer of Pods is internal. */
export function whyInternalPods(mesh: MeshView, selector: Labels, namespace?: string): string | undefined {
  return onceIn(mesh)(JSON.stringify([selector, namespace]), () => whyInternal(mesh, selector, namespace));
}

/** Cached results, because a gateway has many routes. */
const onceIn = remembered((_mesh: MeshView) => memory());

function whyInternal(mesh: MeshView, selector: Labels, namespace: string | undefined): string | undefined {
  if (Object.keys(selector).length === 0) return undefined;
  const balanced = published(mesh).filter(
    ({ spec, metadata }) =>
      (namespace ?? metadata.namespace) === metadata.namespace &&
      (selects(labels(spec.selector), selector) || selects(selector, labels(spec.selector))),
  );
  const reasons = balanced.map(whyInternalService);
  return reasons.every((one) => one !== undefined) ? reasons[0] : undefined;
}

const published = remembered((mesh: MeshView) =>
  mesh
    .all('Service')
    .filter(
      ({ spec }) =>
        (spec.type === 'LoadBalancer' || spec.type === 'NodePort' || texts(spec.externalIPs).length > 0) &&
        Object.keys(labels(spec.selector)).length > 0,
    ),
);

/**
 * Explains why nothing publishes Pods, as far as these files show: every Service before them is of type ClusterIP, and
 * no Ingress or route leads to one. Something outside the files may, such as a tunnel.
 */
export function whyUnpublished(mesh: MeshView, selector: Labels): string | undefined {
  if (Object.keys(selector).length === 0) return undefined;
  return onceIn(mesh)(`unpublished ${JSON.stringify(selector)}`, () => {
    const before = mesh
      .all('Service')
      .filter(({ spec }) => Object.keys(labels(spec.selector)).length > 0 && selects(labels(spec.selector), selector));
    const isInside = ({ spec, metadata }: Service) =>
      (spec.type ?? 'ClusterIP') === 'ClusterIP' &&
      texts(spec.externalIPs).length === 0 &&
      !backends(mesh).has(`${metadata.namespace}/${metadata.name}`);
    const onNode = mesh.pods.some(
      ({ labels: given, pod }) =>
        selects(selector, given) &&
        (pod.hostNetwork === true ||
          items(pod.containers).some(({ ports }) => items(ports).some(({ hostPort }) => hostPort !== undefined))),
    );
    return before.length > 0 && !onNode && before.every(isInside)
      ? `Service ${before[0]!.metadata.namespace}/${before[0]!.metadata.name} is of type ClusterIP, and nothing among these files publishes it`
      : undefined;
  });
}

/** Names of Services that an Ingress or a route of the Gateway API leads to. */
const backends = remembered((mesh: MeshView): ReadonlySet<string> => {
  const ofIngresses = mesh
    .all('Ingress')
    .flatMap(({ spec, metadata }) =>
      [
        spec.defaultBackend,
        ...items(spec.rules).flatMap(({ http }) => items(http?.paths).map(({ backend }) => backend)),
      ].map((backend) => `${metadata.namespace}/${backend?.service?.name}`),
    );
  const ofRoutes = (['HTTPRoute', 'GRPCRoute', 'TLSRoute', 'TCPRoute'] as const).flatMap((kind) =>
    (mesh.all(kind) as readonly HTTPRoute[]).flatMap(({ spec, metadata }) =>
      items(spec.rules)
        .flatMap(({ backendRefs }) => items(backendRefs))
        .map(({ name, namespace = metadata.namespace }) => `${namespace}/${name}`),
    ),
  );
  return new Set([...ofIngresses, ...ofRoutes]);
});

/** Prefix length below which a range is too large to count as a list of permitted clients. */
const WIDEST_LIST = 8;

/** Whether a range is narrow enough to be a list of known clients. */
export function isNarrow(range: string): boolean {
  return Number(range.trim().split('/')[1] ?? 128) >= WIDEST_LIST;
}
