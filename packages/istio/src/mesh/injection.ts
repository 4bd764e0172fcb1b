/**
 * Decides whether a Pod has a sidecar that captures all inbound traffic. For a running Pod, this depends on its
 * containers. For a template, it depends on the rules of Istio's injector. Source: `injectRequired` in
 * pkg/kube/inject/inject.go, mutatingwebhook.yaml and injection-template.yaml of Istio 1.31.
 */

import type { Container, PodSpec } from '../object/kubernetes.ts';
import { items } from '../object/members.ts';
import type { Labels } from '../object/object.ts';
import { REVISION_LABEL } from '../object/selection.ts';
import type { PodFacts } from './pod.ts';

/** The injection setting of a namespace. It is `unknown` if the Namespace was not read. */
export type NamespaceInjection = 'on' | 'off' | 'by-pod' | 'unknown';

const PROXY = 'istio-proxy';
const INJECT = 'sidecar.istio.io/inject';
/** Namespaces that the injector always skips (pkg/kube/inject/initializer.go). */
const NEVER_INJECTED = new Set(['kube-system', 'kube-public', 'kube-node-lease', 'local-path-storage']);
/** The ports of the proxy itself: health checks, Prometheus, and the agent's merged metrics. */
const NEVER_CAPTURED = [15020, 15021, 15090];

/**
 * Reads the injection setting of a Namespace.
 * @param labels the labels of the Namespace, or undefined if it was not read
 * @example
 * ```ts
 * import { namespaceInjection } from '@meshpass/istio';
 * namespaceInjection('shop', { 'istio-injection': 'enabled' }); // => 'on'
 * namespaceInjection('shop', undefined); // => 'unknown'
 * ```
 */
export function namespaceInjection(name: string, labels: Labels | undefined): NamespaceInjection {
  if (NEVER_INJECTED.has(name)) return 'off';
  if (labels === undefined) return 'unknown';
  const injection = labels['istio-injection'];
  // This label takes precedence over the revision label. All values other than `enabled` disable injection.
  if (injection !== undefined) return injection === 'enabled' ? 'on' : 'off';
  return labels[REVISION_LABEL] === undefined ? 'by-pod' : 'on';
}

/**
 * Explains why a Pod does not have a standard Istio sidecar. Returns undefined if it has one, or if it is assumed to
 * have one because the namespace is unknown.
 * @example
 * ```ts
 * import { whyNoSidecar } from '@meshpass/istio';
 * const pod = { namespace: 'shop', labels: {}, annotations: {}, pod: {}, running: false };
 * whyNoSidecar(pod, 'on'); // => undefined
 * whyNoSidecar(pod, 'off'); // => 'sidecar injection is disabled in namespace shop'
 * ```
 */
export function whyNoSidecar(pod: PodFacts, namespace: NamespaceInjection): string | undefined {
  if (pod.pod.hostNetwork === true) return 'it uses the host network, where Istio does not inject a sidecar';
  const templates = words(pod.annotations['inject.istio.io/templates']);
  if (templates.length > 0 && !templates.includes('sidecar'))
    return `it is injected with the template ${templates.join(', ')}, which is not the sidecar template`;
  if (hasProxy(pod)) return whyNotPlain(pod);
  if (pod.running) return 'it runs without an istio-proxy container';
  const wish = pod.labels[INJECT] ?? pod.annotations[INJECT];
  if (wish === 'false') return `${INJECT} disables its sidecar`;
  if (namespace === 'off') return `sidecar injection is disabled in namespace ${pod.namespace}`;
  const asks = pod.labels[INJECT] === 'true' || pod.labels[REVISION_LABEL] !== undefined;
  if (namespace === 'by-pod' && !asks)
    return `namespace ${pod.namespace} has neither istio-injection nor istio.io/rev, and its Pod has no istio-proxy container`;
  return whyNotPlain(pod);
}

/**
 * Whether connections to a port pass through the sidecar. This depends on annotations and, for a running Pod, also on
 * the arguments of its init container.
 * @param port the port, or undefined for ports that no object declares
 * @example
 * ```ts
 * import { isCaptured } from '@meshpass/istio';
 * const annotations = { 'traffic.sidecar.istio.io/excludeInboundPorts': '9090' };
 * const pod = { namespace: 'shop', labels: {}, annotations, pod: {}, running: false };
 * isCaptured(pod, 8080); // => true
 * isCaptured(pod, 9090); // => false
 * ```
 */
export function isCaptured({ annotations, pod }: PodFacts, port: number | undefined): boolean {
  const included = annotations['traffic.sidecar.istio.io/includeInboundPorts'] ?? setUp(pod, '-b') ?? '*';
  if (included.trim() !== '*' && (port === undefined || !words(included).includes(String(port)))) return false;
  if (port === undefined) return true;
  const excluded = [annotations['traffic.sidecar.istio.io/excludeInboundPorts'], setUp(pod, '-d')];
  return !NEVER_CAPTURED.includes(port) && !excluded.flatMap(words).includes(String(port));
}

/**
 * Whether a Pod runs Istio's proxy, either as a container or as a restartable init container (Kubernetes: "Sidecar
 * containers").
 * @example
 * ```ts
 * import { hasProxy } from '@meshpass/istio';
 * hasProxy({ pod: { containers: [{ name: 'app' }, { name: 'istio-proxy' }] } }); // => true
 * hasProxy({ pod: { containers: [{ name: 'app' }] } }); // => false
 * ```
 */
export function hasProxy({ pod }: Pick<PodFacts, 'pod'>): boolean {
  const isProxy = ({ name }: Container) => name === PROXY;
  return (
    items(pod.containers).some(isProxy) ||
    items(pod.initContainers).some((one) => isProxy(one) && one.restartPolicy === 'Always')
  );
}

/** Explains which setting makes a sidecar non-standard. Returns undefined if there is no such setting. */
function whyNotPlain({ annotations }: PodFacts): string | undefined {
  if (annotations['sidecar.istio.io/interceptionMode'] === 'NONE')
    return 'its sidecar does not intercept traffic (interceptionMode NONE)';
  const changed = [
    'sidecar.istio.io/bootstrapOverride',
    'traffic.sidecar.istio.io/excludeInterfaces',
    'traffic.sidecar.istio.io/kubevirtInterfaces',
    'istio.io/reroute-virtual-interfaces',
  ].find((name) => annotations[name]);
  return changed && `${changed} changes which traffic its sidecar captures`;
}

/** Returns the value of an `istio-iptables` flag that was passed to a Pod's init container. */
function setUp(spec: PodSpec, flag: string): string | undefined {
  const made = items(spec.initContainers).find(({ name }) => name === 'istio-init' || name === 'istio-validation');
  const args = Array.isArray(made?.args) ? (made.args as readonly unknown[]) : [];
  const value = args[args.indexOf(flag) + 1];
  return args.includes(flag) && typeof value === 'string' ? value : undefined;
}

function words(text: string | undefined): readonly string[] {
  return (text ?? '')
    .split(',')
    .map((word) => word.trim())
    .filter((word) => word !== '');
}
