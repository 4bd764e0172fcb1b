/**
 * Determines which proxy a workload's outgoing calls go through. Shared by the evaluation of single calls and the
 * comparison of mesh states.
 */
import { anyPod, type Labels, type MeshView, type PodFacts, type ProxyKind, proxyOfPod } from '@meshpass/istio';

export type CallerProxy =
  | 'ambient'
  /** The Pod is labelled for ambient mode, but its traffic is not captured yet. */
  | 'uncaptured'
  | 'sidecar'
  /** The Pod's Namespace could not be read, so a sidecar is assumed. */
  | 'assumed sidecar'
  | 'gateway'
  | 'none';

/** Determines which proxy a Pod's outgoing calls go through. */
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
 * Lists the proxies of all workloads that use a ServiceAccount. If no Pod uses it, returns the proxy that Pods in its
 * Namespace would have. The set is empty if neither the Pods nor the Namespace were read.
 * @param account the ServiceAccount, or undefined to represent any other account in the Namespace
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

/**
 * Whether a sidecar accepts HBONE. The sidecar injector sets this label if HBONE is enabled in the mesh configuration.
 */
export function acceptsHbone(labels: Labels): boolean {
  return labels['networking.istio.io/tunnel'] === 'http';
}
