/** Proxies through which workloads call others: the one reading for single calls and for comparisons. */
import { anyPod, type Labels, type MeshView, type PodFacts, type ProxyKind, proxyOfPod } from '@meshpass/istio';

export type CallerProxy =
  | 'ambient'
  /** Labelled for ambient mode, and not captured yet. */
  | 'uncaptured'
  | 'sidecar'
  /** The Namespace was not read. */
  | 'assumed sidecar'
  | 'gateway'
  | 'none';

/** Returns the proxy of a Pod. */
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
 * Lists the proxies of the workloads with an account, or of their Namespace if no Pod has it. Empty if neither was read.
 * @param account undefined for any other account of the namespace
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

/** Whether a sidecar accepts HBONE: the injector adds the label if the mesh's configuration says so. */
export function acceptsHbone(labels: Labels): boolean {
  return labels['networking.istio.io/tunnel'] === 'http';
}
