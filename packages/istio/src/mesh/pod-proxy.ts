/** Determines the proxy that captures the calls to a Pod. All commands use this implementation. */
import type { Labels } from '../object/object.ts';
import { isAmbient, whyNotCaptured } from './ambient.ts';
import { isSidecarAssumed, namespaceInjection, whyNoSidecar } from './injection.ts';
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
  if (reason === undefined) return { proxy: 'sidecar', ...(isSidecarAssumed(pod, injection) && { assumed: true }) };
  const wish = pod.annotations[INJECT];
  const annotations: Labels = wish === undefined ? {} : { [INJECT]: wish };
  const unchanged = { ...pod, annotations };
  return { proxy: whyNoSidecar(unchanged, injection) === undefined ? 'changed sidecar' : 'none', reason };
}
