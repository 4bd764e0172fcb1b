/** Policies that proxies enforce, as diff formulas. */

import { remembered } from '@meshpass/identity/memory/remembered';
import type { AuthorizationPolicy, MeshSettings, MeshView } from '@meshpass/istio';
import { indexPolicies, type PolicyIndex } from '../diff/policy-index.ts';
import { principalsOf } from '../evaluate/known-callers.ts';

export interface Enforced {
  /** Policies at workloads. Services and Sidecars declare the protocols of their ports. */
  readonly workloads: PolicyIndex;
  /** Policies at gateways, whose own servers determine the protocol, whatever their Services declare. */
  readonly gateways: PolicyIndex;
  readonly trustDomain: string;
}

/** Indexes the enforced policies of a mesh. No caller has a token here, so RequestAuthentications are irrelevant. */
export const enforcedIn = remembered((mesh: MeshView): Enforced => {
  const { config } = mesh;
  const policies = mesh.all('AuthorizationPolicy');
  const settings: MeshSettings = {
    rootNamespace: config.rootNamespace,
    trustDomain: config.trustDomain,
    // Without the mesh configuration, the domains in policies count as the mesh's own, which leads to more warnings.
    trustDomainAliases: config.isRead ? config.trustDomainAliases : policies.flatMap(domainsNamed),
    ...(config.isRead && { authorizers: config.authorizers }),
  };
  const everywhere = [...policies, ...mesh.all('PeerAuthentication'), ...mesh.all('Gateway')];
  return {
    workloads: indexPolicies([...everywhere, ...mesh.all('Service'), ...mesh.all('Sidecar')], settings),
    gateways: indexPolicies(everywhere, settings),
    trustDomain: config.trustDomain,
  };
});

/** Returns `td.example` for `td.example/ns/shop/sa/web`. */
function domainsNamed({ spec }: AuthorizationPolicy): readonly string[] {
  return (spec.rules ?? []).flatMap(principalsOf).flatMap((one) => {
    const [domain = '', ...path] = one.split('/');
    return path.length === 4 && !domain.includes('*') && domain !== '' ? [domain] : [];
  });
}
