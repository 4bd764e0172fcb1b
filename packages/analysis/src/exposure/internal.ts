/**
 * Load balancers that only a private network reaches. Source: the annotations of the cloud providers' controllers
 * (AWS Load Balancer Controller, GKE, AKS, OpenStack, OCI, IBM Cloud, Alibaba Cloud), and the Service API reference.
 */

import { memory, remembered } from '@meshpass/identity/memory/remembered';
import { type Labels, type MeshView, type Service, selects } from '@meshpass/istio';
import { labels, texts } from '@meshpass/istio/members';

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
  const balanced = loadBalancers(mesh).filter(
    ({ spec, metadata }) =>
      (namespace ?? metadata.namespace) === metadata.namespace &&
      (selects(labels(spec.selector), selector) || selects(selector, labels(spec.selector))),
  );
  const reasons = balanced.map(whyInternalService);
  return reasons.every((one) => one !== undefined) ? reasons[0] : undefined;
}

const loadBalancers = remembered((mesh: MeshView) =>
  mesh
    .all('Service')
    .filter(({ spec }) => spec.type === 'LoadBalancer' && Object.keys(labels(spec.selector)).length > 0),
);

/** Prefix length below which a range is too large to count as a list of permitted clients. */
const WIDEST_LIST = 8;

/** Whether a range is narrow enough to be a list of known clients. */
export function isNarrow(range: string): boolean {
  return Number(range.trim().split('/')[1] ?? 128) >= WIDEST_LIST;
}
