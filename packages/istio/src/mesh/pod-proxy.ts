/**
 * Determines the proxy that captures the calls to a Pod. All commands use this implementation. Sources for ambient mode:
 * cni/pkg/util/podutil.go of Istio 1.31 and https://istio.io/latest/docs/ambient/usage/add-workloads/.
 */
import type { Labels } from '../object/object.ts';
import { hasProxy, namespaceInjection, whyNoSidecar } from './injection.ts';
import type { PodFacts } from './pod.ts';

export type PodProxy =
  /** `assumed` is set if the Namespace of the Pod was not read. */
  | { readonly proxy: 'sidecar'; readonly assumed?: true }
  | { readonly proxy: 'ztunnel' }
  /** A sidecar that was modified by an annotation on the Pod. */
  | { readonly proxy: 'changed sidecar'; readonly reason: string }
  | { readonly proxy: 'none'; readonly reason: string }
  /** The Pod is labelled for ambient mode, but its traffic is not captured yet. */
  | { readonly proxy: 'unknown'; readonly reason: string };

export const DATAPLANE_MODE = 'istio.io/dataplane-mode';
const REDIRECTION = 'ambient.istio.io/redirection';
export const BYPASS = 'ambient.istio.io/bypass-inbound-capture';
const INJECT = 'sidecar.istio.io/inject';

/**
 * Determines which proxy captures the calls to a Pod. Some calls may still bypass the proxy: see `isCaptured` and
 * `bypassesZtunnel`.
 * @param mesh returns the labels of a Namespace, or undefined if the Namespace was not read
 * @example
 * ```ts
 * import { anyPod, loadManifests, proxyOfPod, viewMesh } from '@meshpass/istio';
 * const shop = '{apiVersion: v1, kind: Namespace, metadata: {name: shop, labels: {istio.io/dataplane-mode: ambient}}}';
 * const mesh = viewMesh(loadManifests(shop, 'shop.yaml').resources);
 * proxyOfPod(mesh, anyPod('shop')); // => { proxy: 'ztunnel' }
 * proxyOfPod(mesh, { ...anyPod('shop'), running: true }).proxy; // => 'unknown'
 * proxyOfPod(mesh, anyPod('dev')); // => { proxy: 'sidecar', assumed: true }
 * ```
 */
export function proxyOfPod(
  mesh: { readonly namespaceLabels: (namespace: string) => Labels | undefined },
  pod: PodFacts,
): PodProxy {
  const ofNamespace = mesh.namespaceLabels(pod.namespace);
  if (isAmbient(pod, ofNamespace)) {
    const reason = whyNotCaptured(pod);
    return reason === undefined ? { proxy: 'ztunnel' } : { proxy: 'unknown', reason };
  }
  const injection = namespaceInjection(pod.namespace, ofNamespace);
  const reason = whyNoSidecar(pod, injection);
  if (reason === undefined) {
    const isAssumed = injection === 'unknown' && !hasProxy(pod) && !pod.running;
    return { proxy: 'sidecar', ...(isAssumed && { assumed: true }) };
  }
  const wish = pod.annotations[INJECT];
  const annotations: Labels = wish === undefined ? {} : { [INJECT]: wish };
  const unchanged = { ...pod, annotations };
  return { proxy: whyNoSidecar(unchanged, injection) === undefined ? 'changed sidecar' : 'none', reason };
}

/**
 * Whether a Pod is in ambient mode. The CNI agent skips Pods that have a sidecar or use the host network.
 * @param ofNamespace the labels of the Pod's Namespace, or undefined if the Namespace was not read
 */
function isAmbient(pod: PodFacts, ofNamespace: Labels | undefined): boolean {
  if (hasProxy(pod) || pod.pod.hostNetwork === true) return false;
  if (pod.annotations[REDIRECTION] === 'enabled') return true;
  if ((pod.labels[DATAPLANE_MODE] ?? ofNamespace?.[DATAPLANE_MODE]) !== 'ambient') return false;
  // If the Namespace was not read, the label on the Pod is enough, unless the Pod also requests a sidecar.
  return whyNoSidecar(pod, ofNamespace ? namespaceInjection(pod.namespace, ofNamespace) : 'by-pod') !== undefined;
}

/**
 * Explains why it is unknown whether a ztunnel captures the traffic of a Pod in ambient mode. Returns undefined if a
 * ztunnel does.
 */
function whyNotCaptured({ annotations, running }: PodFacts): string | undefined {
  return running && annotations[REDIRECTION] !== 'enabled'
    ? `it is labelled for ambient mode, and the CNI agent has not annotated the Pod with ${REDIRECTION}: enabled`
    : undefined;
}

/**
 * Whether calls from outside ambient mode bypass a Pod's ztunnel. Source: `getPodLevelTrafficOverrides` in
 * cni/pkg/nodeagent/net.go of Istio.
 * @example
 * ```ts
 * import { bypassesZtunnel } from '@meshpass/istio';
 * bypassesZtunnel({ 'ambient.istio.io/bypass-inbound-capture': 'true' }); // => true
 * ```
 */
export function bypassesZtunnel(annotations: Labels): boolean {
  return /^(?:1|t|true)$/i.test(annotations[BYPASS] ?? '');
}
