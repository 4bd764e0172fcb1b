/**
 * Proxy that enforces policies in front of a workload, for calls of an entry point. Gateways and other clients outside
 * ambient mode reach a Pod without its waypoint, unless `istio.io/ingress-use-waypoint` sends the calls of gateways
 * there. Source: Istio's documentation of ambient mode, "Configure waypoint proxies".
 */

import {
  bypassesZtunnel,
  gatewaysUseWaypoint,
  isAmbient,
  isCaptured,
  type Labels,
  type MeshView,
  type NamespaceInjection,
  namespaceInjection,
  type PodFacts,
  type PodWorkload,
  type Service,
  serviceWaypoint,
  type Workload,
  whyNoSidecar,
} from '@meshpass/istio';
import type { EntryPoint, Exposure } from './exposure.ts';

export interface Enforcer {
  readonly proxy: 'sidecar' | 'ztunnel' | 'waypoint' | 'none' | 'unknown';
  /** Why it is this proxy; undefined for a sidecar that the files show or that is assumed. */
  readonly reason: string | undefined;
}

const SIDECAR: Enforcer = { proxy: 'sidecar', reason: undefined };
const INJECT = 'sidecar.istio.io/inject';

/**
 * Determines which proxy enforces policies at a port of a workload.
 * @param workload a Pod or template; a workload without Pods among the files is assumed to have a sidecar
 * @param port the Pod's port; undefined for ports that no object declares
 */
export function enforcerOf(
  mesh: MeshView,
  workload: Workload,
  port: number | undefined,
  { service }: Pick<Exposure, 'service'>,
  { proxy }: Pick<EntryPoint, 'proxy'>,
): Enforcer {
  const { namespace } = workload;
  const ofNamespace = mesh.namespaceLabels(namespace);
  const facts: PodFacts = isPod(workload)
    ? workload
    : { namespace, labels: workload.labels, annotations: {}, pod: {}, running: false };
  const injection = namespaceInjection(namespace, ofNamespace);
  const why = whyNoSidecar(facts, injection);
  if (isAmbient(facts, ofNamespace)) {
    return ambientEnforcer(facts, proxy.by === 'istio' && service ? waypointForGateways(mesh, service) : undefined);
  }
  if (why !== undefined) return withoutStandardSidecar(facts, isPod(workload), injection, why);
  if (!isCaptured(facts, port)) {
    return {
      proxy: 'none',
      reason: `${port === undefined ? 'such ports bypass' : `port ${port} bypasses`} the sidecar`,
    };
  }
  return SIDECAR;
}

function ambientEnforcer({ namespace, annotations }: PodFacts, waypoint: string | undefined): Enforcer {
  if (waypoint !== undefined) {
    const reason = `istio.io/ingress-use-waypoint sends the calls of gateways to waypoint ${waypoint}`;
    return { proxy: 'waypoint', reason };
  }
  if (bypassesZtunnel(annotations)) {
    return { proxy: 'none', reason: 'an annotation of the Pod lets calls from outside bypass the ztunnel' };
  }
  return { proxy: 'ztunnel', reason: `${namespace} is in ambient mode, and calls from outside reach no waypoint` };
}

/** A changed sidecar, or Pods outside the files that may ask for one, are unknown. */
function withoutStandardSidecar(
  facts: PodFacts,
  isRead: boolean,
  injection: NamespaceInjection,
  why: string,
): Enforcer {
  const wish = facts.annotations[INJECT];
  const annotations: Labels = wish === undefined ? {} : { [INJECT]: wish };
  const isChanged = whyNoSidecar({ ...facts, annotations }, injection) === undefined;
  if (!isRead && injection === 'by-pod') {
    return {
      proxy: 'unknown',
      reason: `the Pods are not among these files, and namespace ${facts.namespace} injects none`,
    };
  }
  return { proxy: isChanged ? 'unknown' : 'none', reason: why };
}

/** Whether a workload is a Pod or template among the files. */
export function isPod(workload: Workload): workload is PodWorkload {
  return 'podPath' in workload;
}

/** Returns the waypoint for calls of gateways, as its labels name it. */
function waypointForGateways(mesh: MeshView, service: Service): string | undefined {
  if (!gatewaysUseWaypoint(mesh, service)) return undefined;
  const found = serviceWaypoint(mesh, service);
  return found && (found.waypoint?.gateway.metadata.name ?? 'that is not known');
}
