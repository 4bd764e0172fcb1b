/**
 * Determines how Services and the Pods of gateways are published, and recognizes load balancers that are only reachable
 * from a private network. Sources: the annotations of the cloud providers' controllers (AWS Load Balancer Controller,
 * GKE, AKS, OpenStack, OCI, IBM Cloud, Alibaba Cloud, DigitalOcean, Hetzner, Yandex Cloud), and the Service API
 * reference.
 */

import { createMemo, memoize } from '@meshpass/identity';
import {
  type HTTPRoute,
  type Labels,
  type MeshView,
  type Path,
  type PodSpec,
  type Service,
  selects,
} from '@meshpass/istio';
import { items, labels, record, text, texts } from '@meshpass/istio/members';
import type { EntryKind, EntryPoint } from './exposure.ts';
import { type GatewayPods, listFittingServices, listGatewayPods } from './gateway-pods.ts';

/** Maps annotations to the values that make a load balancer internal. */
const INTERNAL: Readonly<Record<string, RegExp>> = {
  'networking.gke.io/load-balancer-type': /^internal$/i,
  'cloud.google.com/load-balancer-type': /^internal$/i,
  'service.beta.kubernetes.io/azure-load-balancer-internal': /^true$/i,
  'service.beta.kubernetes.io/openstack-internal-load-balancer': /^true$/i,
  'service.beta.kubernetes.io/oci-load-balancer-internal': /^true$/i,
  'service.kubernetes.io/ibm-load-balancer-cloud-provider-ip-type': /^private$/,
  'service.beta.kubernetes.io/alibaba-cloud-loadbalancer-address-type': /^intranet$/,
  'service.beta.kubernetes.io/do-loadbalancer-network': /^INTERNAL$/,
  'load-balancer.hetzner.cloud/disable-public-network': /^true$/,
  'yandex.cloud/load-balancer-type': /^internal$/,
};

const AWS_SCHEME = 'service.beta.kubernetes.io/aws-load-balancer-scheme';
/** The older form of the annotation, which is ignored if the scheme annotation is present. */
const AWS_INTERNAL = 'service.beta.kubernetes.io/aws-load-balancer-internal';
/** The class for load balancers of the AWS Load Balancer Controller, which are internal by default. */
const AWS_CLASS = 'service.k8s.aws/nlb';
const RANGES = 'service.beta.kubernetes.io/load-balancer-source-ranges';

/** Explains which annotation of a Gateway makes its load balancer internal. Returns undefined if there is none. */
export function whyInternalAnnotation(annotations: Labels | undefined): string | undefined {
  const name = 'networking.istio.io/service-type';
  return labels(annotations)[name] === 'ClusterIP'
    ? `Istio creates no load balancer for it (${name}: ClusterIP)`
    : whyInternalBalancer(labels(annotations), undefined);
}

function whyInternalBalancer(given: Labels, loadBalancerClass: string | undefined): string | undefined {
  const name = Object.keys(INTERNAL).find((one) => INTERNAL[one]!.test(given[one] ?? ''));
  if (name) return `its load balancer is internal (${name}: ${given[name]})`;
  return whyNarrow((given[RANGES] ?? '').split(',')) ?? whyInternalAtAws(given, loadBalancerClass);
}

function whyNarrow(ranges: readonly string[]): string | undefined {
  const given = ranges.map((one) => one.trim()).filter((one) => one !== '');
  return given.length > 0 && given.every(isNarrow) ? `only ${given.join(', ')} can reach its load balancer` : undefined;
}

function whyInternalAtAws(given: Labels, loadBalancerClass: string | undefined): string | undefined {
  const scheme = given[AWS_SCHEME];
  if (scheme !== undefined) {
    return scheme === 'internal' ? `its load balancer is internal (${AWS_SCHEME}: internal)` : undefined;
  }
  const older = given[AWS_INTERNAL] ?? '';
  if (older !== '') return older === 'false' ? undefined : `its load balancer is internal (${AWS_INTERNAL}: ${older})`;
  return loadBalancerClass === AWS_CLASS
    ? `load balancers of class ${AWS_CLASS} are internal without ${AWS_SCHEME}: internet-facing`
    : undefined;
}

/** Matches the addresses of private networks, as defined in RFC 1918 and RFC 4193. */
const PRIVATE = /^(?:10\.|192\.168\.|172\.(?:1[6-9]|2\d|3[01])\.|f[cd][\da-f]{2}:)/i;

/**
 * Explains why a Service's load balancer or external addresses cannot be reached from the internet. Returns undefined
 * if they may be reachable.
 */
export function whyInternalService({ metadata, spec }: Service): string | undefined {
  const addresses = texts(spec.externalIPs);
  if (!addresses.every((one) => PRIVATE.test(one))) return undefined;
  if (spec.type !== 'LoadBalancer') {
    const isAtAddresses = spec.type !== 'NodePort' && addresses.length > 0;
    return isAtAddresses ? `its external addresses are private (${addresses.join(', ')})` : undefined;
  }
  if (spec.loadBalancerClass === 'tailscale') return 'its load balancer is in a Tailscale network';
  const given = labels(metadata.annotations);
  // The Service's field takes precedence over the annotation.
  const ranges = texts(spec.loadBalancerSourceRanges).join(',');
  return whyInternalBalancer(ranges === '' ? given : { ...given, [RANGES]: ranges }, text(spec.loadBalancerClass));
}

/** Determines how a Service is published, and which field publishes it. Returns undefined if it is not published. */
export function findPublication({ spec }: Service): { readonly kind: EntryKind; readonly path: Path } | undefined {
  if (spec.type === 'LoadBalancer' || spec.type === 'NodePort') return { kind: spec.type, path: ['spec', 'type'] };
  if (spec.type !== 'ExternalName' && texts(spec.externalIPs).length > 0) {
    return { kind: 'externalIPs', path: ['spec', 'externalIPs'] };
  }
  return undefined;
}

/** Describes how the Pods of a gateway are published. */
interface Reach {
  /**
   * The reason why all of the gateway's load balancers are internal. Undefined if the files may not contain all of its
   * Services.
   */
  readonly internal: string | undefined;
  /**
   * The reason why it is unknown whether the Pods are published. Every Service in front of them is internal or of type
   * ClusterIP, and no Ingress or route refers to one. Even so, something outside the files could publish them, such as
   * a tunnel or, if the Pods are not in the files, a Service in another namespace.
   */
  readonly unpublished: string | undefined;
}

/**
 * Determines who reaches a gateway that makes no checks of its own. The state of its identity is `none`, or `unknown` if
 * it is unknown whether the gateway's Pods are published.
 * @param reason why the gateway makes no checks
 */
export function uncheckedGateway(
  mesh: MeshView,
  pods: GatewayPods,
  reason: string,
): Pick<EntryPoint, 'own' | 'internal'> {
  const { unpublished, internal } = determineReach(mesh, pods);
  return {
    own: unpublished === undefined ? { state: 'none', reason } : { state: 'unknown', reason: unpublished },
    internal,
  };
}

/**
 * Determines how the Pods of a gateway are published. A Service only selects Pods in its own namespace, so Services in
 * other namespaces do not matter, even if their selectors match.
 */
export function determineReach(mesh: MeshView, gateway: GatewayPods): Reach {
  const { selector = {}, namespace, confined = false } = gateway;
  const pods = listGatewayPods(mesh, gateway);
  const key = JSON.stringify([selector, (confined || pods.length === 0) && namespace, confined]);
  return onceIn(mesh)(key, () => {
    if (pods.length === 0) return reachBy(mesh, listFittingServices(mesh, gateway), selector, confined);
    const found = [...Map.groupBy(pods, (pod) => pod.namespace).values()].map((own) =>
      own.flatMap(mesh.servicesBefore),
    );
    // If the files contain no Service for the Pods in a namespace, a Service outside the files may publish them.
    const certain = found.every((each) => each.length > 0);
    return reachBy(mesh, found.flat(), selector, certain);
  });
}

const NO_REACH: Reach = { internal: undefined, unpublished: undefined };

/** Caches results for each mesh, because a gateway has many routes. */
const onceIn = memoize((_mesh: MeshView) => createMemo());

/**
 * Determines how the given Services publish the Pods of a gateway.
 * @param certain whether no other Service can select the Pods
 */
function reachBy(mesh: MeshView, services: readonly Service[], selector: Labels, certain: boolean): Reach {
  const [first] = services;
  if (!first) return NO_REACH;
  const isElsewhere = isPublishedElsewhere(mesh, services, selector);
  if (!services.some(findPublication)) {
    const name = `Service ${first.metadata.namespace}/${first.metadata.name}`;
    const why = `${name} is of type ClusterIP, and nothing among these files publishes it`;
    return { internal: undefined, unpublished: isElsewhere ? undefined : why };
  }
  const why = whyPublishedInternal(services);
  if (why === undefined) return NO_REACH;
  if (isElsewhere) {
    const also = 'an Ingress, a route or a port of the node leads to the gateway as well';
    return { internal: undefined, unpublished: `${why}, and ${also}` };
  }
  const missing = 'the Pods of the gateway are not among these files with all their Services';
  return certain
    ? { internal: why, unpublished: undefined }
    : { internal: undefined, unpublished: `${why}, and ${missing}` };
}

/**
 * Explains why all Services that publish some Pods are internal. Returns undefined if the Pods are also published in
 * other ways.
 * @param services the Services in front of the Pods
 * @param selector the selector of the Pods
 */
export function whyAllInternal(mesh: MeshView, services: readonly Service[], selector: Labels): string | undefined {
  const why = whyPublishedInternal(services);
  return why === undefined || isPublishedElsewhere(mesh, services, selector) ? undefined : why;
}

function whyPublishedInternal(services: readonly Service[]): string | undefined {
  const reasons = services.filter(findPublication).map(whyInternalService);
  return reasons.every((one) => one !== undefined) ? reasons[0] : undefined;
}

function isPublishedElsewhere(mesh: MeshView, services: readonly Service[], selector: Labels): boolean {
  const isBackend = ({ metadata: { namespace, name } }: Service) => backends(mesh).has(`${namespace}/${name}`);
  return services.some(isBackend) || isOnNode(mesh, selector);
}

function isOnNode(mesh: MeshView, selector: Labels): boolean {
  return mesh.pods.some(
    ({ labels: given, pod }) =>
      selects(selector, given) &&
      (pod.hostNetwork === true ||
        longRunningContainers(pod).some(({ container }) =>
          items(container.ports).some(({ hostPort }) => hostPort !== undefined),
        )),
  );
}

type Container = NonNullable<PodSpec['containers']>[number];

/**
 * Lists the containers that run for as long as their Pod does, with their paths in the Pod spec. Init containers are
 * included if they have `restartPolicy: Always`. Source: "Sidecar Containers" in the Kubernetes documentation.
 */
export function longRunningContainers({
  containers,
  initContainers,
}: PodSpec): readonly { readonly container: Container; readonly path: Path }[] {
  return [
    ...items(containers).map((container, index) => ({ container, path: ['containers', index] })),
    ...items(initContainers).flatMap((container, index) =>
      record(container).restartPolicy === 'Always' ? [{ container, path: ['initContainers', index] }] : [],
    ),
  ];
}

/** Collects the names of all Services that are backends of an Ingress or a Gateway API route. */
const backends = memoize((mesh: MeshView): ReadonlySet<string> => {
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

/** The minimum prefix length of an address range that counts as a list of allowed clients. */
const WIDEST_LIST = 8;

/** Checks whether an address range is narrow enough to be a list of known clients. */
export function isNarrow(range: string): boolean {
  return Number(range.trim().split('/')[1] ?? 128) >= WIDEST_LIST;
}
