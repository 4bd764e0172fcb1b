/**
 * Determines which proxy enforces the policies in front of a workload when calls arrive from an entry point. Gateways
 * and other clients outside ambient mode bypass a Pod's waypoint, unless `istio.io/ingress-use-waypoint` routes gateway
 * calls through it. Source: Istio's documentation of ambient mode, "Configure waypoint proxies".
 */

import {
  anyPod,
  bypassesZtunnel,
  gatewaysUseWaypoint,
  isCaptured,
  type MeshView,
  namespaceInjection,
  type PodFacts,
  type PodProxy,
  type PodWorkload,
  proxyOfPod,
  type Service,
  serviceWaypoint,
  type Workload,
} from '@meshpass/istio';
import type { EntryPoint, Exposure } from './exposure.ts';

export interface Enforcer {
  readonly proxy: 'sidecar' | 'ztunnel' | 'waypoint' | 'none' | 'unknown';
  /** The reason why this proxy was chosen. Undefined if it is a sidecar, whether the sidecar was found or assumed. */
  readonly reason: string | undefined;
}

const SIDECAR: Enforcer = { proxy: 'sidecar', reason: undefined };

/**
 * Determines which proxy enforces the policies at a workload's port.
 * @param workload the Pod or Pod template; if the files contain no Pods for a workload, a sidecar is assumed
 * @param port the Pod's port, or undefined for ports that no object declares
 */
export function findEnforcer(
  mesh: MeshView,
  workload: Workload,
  port: number | undefined,
  { service }: Pick<Exposure, 'service'>,
  { proxy }: Pick<EntryPoint, 'proxy'>,
): Enforcer {
  const facts: PodFacts = isPod(workload) ? workload : anyPod(workload.namespace, workload.labels);
  const found = proxyOfPod(mesh, facts);
  switch (found.proxy) {
    case 'ztunnel':
    case 'unknown':
      return ambientEnforcer(
        facts,
        found,
        proxy.by === 'istio' && service ? waypointForGateways(mesh, service) : undefined,
      );
    case 'changed sidecar':
      return { proxy: 'unknown', reason: found.reason };
    case 'none':
      return isPod(workload) ? found : withoutPods(mesh, facts, found.reason);
    default:
      if (isCaptured(facts, port)) return SIDECAR;
      return {
        proxy: 'none',
        reason: `${port === undefined ? 'such ports bypass' : `port ${port} bypasses`} the sidecar`,
      };
  }
}

function ambientEnforcer(
  { namespace, annotations }: PodFacts,
  found: PodProxy & { readonly proxy: 'ztunnel' | 'unknown' },
  waypoint: string | undefined,
): Enforcer {
  if (waypoint !== undefined) {
    const reason = `istio.io/ingress-use-waypoint sends the calls of gateways to waypoint ${waypoint}`;
    return { proxy: 'waypoint', reason };
  }
  if (bypassesZtunnel(annotations)) {
    return { proxy: 'none', reason: 'an annotation of the Pod lets calls from outside bypass the ztunnel' };
  }
  if (found.proxy === 'unknown') return found;
  return { proxy: 'ztunnel', reason: `${namespace} is in ambient mode, and calls from outside reach no waypoint` };
}

/** Handles a workload whose Pods are not in the files. Their labels may still request a sidecar. */
function withoutPods(mesh: MeshView, { namespace }: PodFacts, why: string): Enforcer {
  if (namespaceInjection(namespace, mesh.namespaceLabels(namespace)) !== 'by-pod')
    return { proxy: 'none', reason: why };
  return {
    proxy: 'unknown',
    reason: `the Pods are not among these files, and namespace ${namespace} injects none`,
  };
}

/** Checks whether a workload is a Pod or Pod template from the files, as opposed to an assumed one. */
export function isPod(workload: object): workload is PodWorkload {
  return 'podPath' in workload;
}

/** Returns the name of the waypoint that processes calls from gateways to a Service. */
function waypointForGateways(mesh: MeshView, service: Service): string | undefined {
  if (!gatewaysUseWaypoint(mesh, service)) return undefined;
  const found = serviceWaypoint(mesh, service);
  return found && (found.waypoint?.gateway.metadata.name ?? 'that is not known');
}
