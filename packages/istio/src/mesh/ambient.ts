/**
 * Determines which Pods in ambient mode have their traffic captured by a ztunnel. Sources: cni/pkg/util/podutil.go of
 * Istio 1.31 and https://istio.io/latest/docs/ambient/usage/add-workloads/.
 */
import type { Labels } from '../object/object.ts';
import { hasProxy, namespaceInjection, whyNoSidecar } from './injection.ts';
import type { PodFacts } from './pod.ts';

export const DATAPLANE_MODE = 'istio.io/dataplane-mode';
const REDIRECTION = 'ambient.istio.io/redirection';
const BYPASS = 'ambient.istio.io/bypass-inbound-capture';

/**
 * Whether a Pod is in ambient mode. The CNI agent skips Pods that have a sidecar or use the host network.
 * @param ofNamespace the labels of the Pod's Namespace, or undefined if the Namespace was not read
 */
export function isAmbient(pod: PodFacts, ofNamespace: Labels | undefined): boolean {
  if (hasProxy(pod) || pod.pod.hostNetwork === true) return false;
  if (pod.annotations[REDIRECTION] === 'enabled') return true;
  if ((pod.labels[DATAPLANE_MODE] ?? ofNamespace?.[DATAPLANE_MODE]) !== 'ambient') return false;
  // If the Namespace was not read, the label on the Pod is enough, unless the Pod also requests a sidecar.
  return whyNoSidecar(pod, ofNamespace ? namespaceInjection(pod.namespace, ofNamespace) : 'by-pod') !== undefined;
}

/** Explains why calls from outside ambient mode bypass a Pod's ztunnel. Returns undefined if they do not. */
export function whyBypassed({ annotations }: PodFacts): string | undefined {
  return bypassesZtunnel(annotations) ? `${BYPASS} lets calls from outside ambient mode bypass the ztunnel` : undefined;
}

/**
 * Explains why it is unknown whether a ztunnel captures the traffic of a Pod in ambient mode. Returns undefined if a
 * ztunnel does.
 */
export function whyNotCaptured({ annotations, running }: PodFacts): string | undefined {
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
