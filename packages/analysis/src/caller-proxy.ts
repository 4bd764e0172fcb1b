/**
 * Determines the proxies through which workloads call others. Evaluations of single calls and comparisons share this
 * implementation.
 */
import { anyPod, type Labels, type MeshView, type PodFacts, type ProxyKind, proxyOfPod } from '@meshpass/istio';

export type CallerProxy =
  | 'ambient'
  /** The Pod is labelled for ambient mode but has not been captured yet. */
  | 'uncaptured'
  | 'sidecar'
  /** The Pod's Namespace was not read. */
  | 'assumed sidecar'
  | 'gateway'
  | 'none';

/** Determines the proxy through which a Pod makes calls. */
export function resolveCallerProxy(view: MeshView, pod: PodFacts & { readonly kind?: ProxyKind }): CallerProxy {
  if (pod.kind !== undefined && pod.kind !== 'sidecar') return 'gateway';
  const found = proxyOfPod(view, pod);
  switch (found.proxy) {
    case 'ztunnel':
      return 'ambient';
    case 'unknown':
      return 'uncaptured';
    case 'sidecar':
      return found.assumed ? 'assumed sidecar' : 'sidecar';
    default:
      return 'none';
  }
}

/**
 * Lists the proxies of all workloads that use a ServiceAccount. If no Pod uses it, returns the proxy that its Namespace
 * implies. Empty if neither was read.
 * @param account ServiceAccount; undefined for any other account of the namespace
 */
export function listCallerProxies(
  view: MeshView,
  namespace: string,
  account: string | undefined,
): { readonly proxies: ReadonlySet<CallerProxy>; readonly isOfPods: boolean } {
  const pods = view.podsIn(namespace).filter((pod) => pod.serviceAccount === account);
  if (pods.length > 0) return { proxies: new Set(pods.map((pod) => resolveCallerProxy(view, pod))), isOfPods: true };
  const isRead = view.namespaceLabels(namespace) !== undefined;
  return { proxies: new Set(isRead ? [resolveCallerProxy(view, anyPod(namespace))] : []), isOfPods: false };
}

/** Whether a sidecar accepts HBONE. The injector adds this label if the mesh configuration enables HBONE. */
export function acceptsHbone(labels: Labels): boolean {
  return labels['networking.istio.io/tunnel'] === 'http';
}
