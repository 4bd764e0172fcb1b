/** The kinds of proxies. Sidecars, gateways and waypoints enforce different policies. */
import { distinct } from '../object/members.ts';
import type { Labels } from '../object/object.ts';
import type { ResourceOf } from '../object/resources.ts';
import { selects } from '../object/selection.ts';

export type ProxyKind = 'sidecar' | 'gateway' | 'waypoint';

/** The fields of a proxy that policies use to select it. */
export interface MeshProxy {
  readonly namespace: string;
  readonly labels: Labels;
  readonly kind: ProxyKind;
}

/** The label on Pods that belong to a Gateway of the Gateway API. */
export const GATEWAY_NAME = 'gateway.networking.k8s.io/gateway-name';

/**
 * The label that one of istiod's controllers adds to the objects it creates for a Gateway. Its value is the name of the
 * controller.
 */
export const MANAGED_GATEWAY_LABEL = 'gateway.istio.io/managed';
/** The name of the controller that manages waypoints. */
export const WAYPOINT_CONTROLLER = 'istio.io-mesh-controller';

/**
 * Creates a function that returns the kind of proxy that Pods with certain labels run.
 * @param gateways the Istio Gateways, which select Pods by label
 * @example
 * ```ts
 * import { GATEWAY_NAME, proxyKinds } from '@meshpass/istio';
 * const kindOf = proxyKinds([]);
 * kindOf({ app: 'orders' }); // => 'sidecar'
 * kindOf({ [GATEWAY_NAME]: 'public' }); // => 'gateway'
 * ```
 */
export function proxyKinds(gateways: readonly ResourceOf<'Gateway'>[]): (labels: Labels) => ProxyKind {
  const selecting = gateways.flatMap(({ spec }) =>
    spec.selector && Object.keys(spec.selector).length > 0 ? [spec.selector] : [],
  );
  // Gateways in different namespaces often select the same Pods.
  const selectors = distinct(selecting, (one) => JSON.stringify(one));
  return (labels) => {
    if (labels[MANAGED_GATEWAY_LABEL] === WAYPOINT_CONTROLLER) return 'waypoint';
    if (labels[GATEWAY_NAME] !== undefined) return 'gateway';
    return selectors.some((selector) => selects(selector, labels)) ? 'gateway' : 'sidecar';
  };
}
