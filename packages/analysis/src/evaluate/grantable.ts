import type { MeshView, Workload } from '@meshpass/istio';

/** The reason why grants do not work for workloads in ambient mode. */
export const AMBIENT_NOT_GRANTABLE =
  'it is in ambient mode, which grants do not support yet: a ztunnel checks neither the token nor the method or path of a call';

/**
 * Explains why grants cannot work for a workload. Returns undefined if they can.
 * @example
 * ```ts
 * import { whyNotGrantable } from '@meshpass/analysis/evaluate';
 * import { loadManifests, viewMesh } from '@meshpass/istio';
 * const shop = '{apiVersion: v1, kind: Namespace, metadata: {name: shop, labels: {istio.io/dataplane-mode: ambient}}}';
 * const view = viewMesh(loadManifests(shop, 'shop.yaml').resources);
 * whyNotGrantable(view, { namespace: 'shop', labels: {} }) === undefined; // => false
 * ```
 */
export function whyNotGrantable(view: MeshView, workload: Pick<Workload, 'namespace' | 'labels'>): string | undefined {
  return view.dataPlane().proxyOf(workload) === 'ztunnel' ? AMBIENT_NOT_GRANTABLE : undefined;
}
