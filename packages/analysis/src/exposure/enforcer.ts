/**
 * Determines which proxy enforces the policies in front of a workload when calls arrive from an entry point, and
 * converts its policies into the formulas that the policy diff uses. Gateways and other clients outside ambient mode
 * bypass a Pod's waypoint, unless `istio.io/ingress-use-waypoint` routes gateway calls through it. Source: Istio's
 * documentation of ambient mode, "Configure waypoint proxies".
 */

import { memoize } from '@meshpass/identity';
import {
  type AuthorizationPolicy,
  anyPod,
  bypassesZtunnel,
  gatewaysUseWaypoint,
  isCaptured,
  type MeshSettings,
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
import { items } from '@meshpass/istio/members';
import { indexPolicies, type PolicyIndex } from '../diff/policy-index.ts';
import type { PortPolicy } from '../diff/port-policy.ts';
import { principalsOf } from '../evaluate/known-callers.ts';
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

interface EnforcedPolicies {
  /** The policies at workloads, where Services and Sidecars declare the protocol of each port. */
  readonly workloads: PolicyIndex;
  /** The policies at gateways, where the gateway's servers, rather than its Services, determine the protocol. */
  readonly gateways: PolicyIndex;
  readonly settings: MeshSettings;
}

/** Indexes the policies that a mesh enforces. RequestAuthentications are ignored because the callers have no tokens. */
export const indexEnforcedPolicies = memoize((mesh: MeshView): EnforcedPolicies => {
  const { config } = mesh;
  const policies = mesh.all('AuthorizationPolicy');
  const settings: MeshSettings = {
    rootNamespace: config.rootNamespace,
    trustDomain: config.trustDomain,
    // Without the mesh configuration, every trust domain in a policy is treated as one of the mesh's own. This errs on
    // the side of more warnings.
    trustDomainAliases: config.isRead ? config.trustDomainAliases : policies.flatMap(domainsNamed),
    ...(config.isRead && { authorizers: config.authorizers }),
  };
  const everywhere = [...policies, ...mesh.all('PeerAuthentication'), ...mesh.all('Gateway')];
  return {
    workloads: indexPolicies([...everywhere, ...mesh.all('Service'), ...mesh.all('Sidecar')], settings),
    gateways: indexPolicies(everywhere, settings),
    settings,
  };
});

const waypointPoliciesIn = memoize((mesh: MeshView) =>
  indexPolicies(
    mesh.resources.filter(({ kind }) => kind !== 'RequestAuthentication'),
    indexEnforcedPolicies(mesh).settings,
  ),
);

/**
 * Returns the policies that a ztunnel, or the waypoint in front of it, enforces at a workload's port. Returns undefined
 * for other proxies.
 */
export function policiesAt(
  mesh: MeshView,
  { proxy }: Enforcer,
  point: { readonly proxy: Workload; readonly port: number | undefined },
  { service, destination, protocol }: Pick<Exposure, 'service' | 'destination' | 'protocol'>,
): PortPolicy | undefined {
  if (proxy === 'ztunnel') return indexEnforcedPolicies(mesh).gateways.atZtunnel(point.proxy, point.port);
  if (proxy !== 'waypoint' || !service) return undefined;
  const { name, namespace } = service.metadata;
  const port = destination.port ?? items(service.spec.ports)[0]?.port ?? 0;
  const spoken = protocol === 'http' ? 'http' : 'tcp';
  return waypointPoliciesIn(mesh).at(point.proxy, point.port, spoken, { namespace, name, port });
}

/** Returns the trust domains in a policy's principals, for example `td.example` from `td.example/ns/shop/sa/web`. */
function domainsNamed({ spec }: AuthorizationPolicy): readonly string[] {
  return (spec.rules ?? []).flatMap(principalsOf).flatMap((one) => {
    const [domain = '', ...path] = one.split('/');
    return path.length === 4 && !domain.includes('*') && domain !== '' ? [domain] : [];
  });
}
