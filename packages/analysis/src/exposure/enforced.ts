/** Converts the policies that proxies enforce into the formulas that the policy diff uses. */

import { memoize } from '@meshpass/identity/memory/memoize';
import type { AuthorizationPolicy, MeshSettings, MeshView, Workload } from '@meshpass/istio';
import { items } from '@meshpass/istio/members';
import { indexPolicies, type PolicyIndex } from '../diff/policy-index.ts';
import type { PortPolicy } from '../diff/port-policy.ts';
import { principalsOf } from '../evaluate/known-callers.ts';
import type { Enforcer } from './enforcer.ts';
import type { Exposure } from './exposure.ts';

export interface EnforcedPolicies {
  /** The policies at workloads, where Services and Sidecars declare the protocol of each port. */
  readonly workloads: PolicyIndex;
  /** The policies at gateways, where the gateway's servers, rather than its Services, determine the protocol. */
  readonly gateways: PolicyIndex;
  readonly settings: MeshSettings;
  readonly trustDomain: string;
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
    trustDomain: config.trustDomain,
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
