/**
 * The trust domain of the mesh, its aliases, and the trust domains of trusted certificate authorities. Source:
 * pilot/pkg/security/trustdomain/bundle.go.
 */
import type { MeshConfig } from './mesh-config.ts';

/** The trust domain of the mesh and its aliases. */
export type TrustDomains = Pick<MeshConfig, 'trustDomain' | 'trustDomainAliases'>;

/**
 * Lists the trust domains that a principal of the mesh can start with. The mesh's own domain comes first, followed by
 * its aliases.
 * @example
 * ```ts
 * import { trustDomainsOf } from '@meshpass/istio';
 * trustDomainsOf({ trustDomain: 'new.example', trustDomainAliases: ['old.example'] }); // => ['new.example', 'old.example']
 * ```
 */
export function trustDomainsOf({ trustDomain, trustDomainAliases }: TrustDomains): readonly string[] {
  return [...new Set([trustDomain, ...trustDomainAliases])];
}

/**
 * Lists the trust domains whose certificates a sidecar accepts: those of the mesh, and those of additional certificate
 * authorities (`caCertificates`).
 * @example
 * ```ts
 * import { trustedPeerDomains } from '@meshpass/istio';
 * trustedPeerDomains({ trustDomain: 'a.example', trustDomainAliases: [], caTrustDomains: ['b.example'] }); // => ['a.example', 'b.example']
 * ```
 */
export function trustedPeerDomains(
  config: TrustDomains & Partial<Pick<MeshConfig, 'caTrustDomains'>>,
): readonly string[] {
  return [...new Set([...trustDomainsOf(config), ...(config.caTrustDomains ?? [])])];
}

/**
 * Expands a policy's principal the way istiod does. A principal of this mesh is accepted under each of the mesh's trust
 * domains, and `cluster.local` stands for all of them.
 * @param domains the result of `trustDomainsOf`, or an empty list for proxies that compare principals as written
 * @example
 * ```ts
 * import { withAliases } from '@meshpass/istio';
 * withAliases('cluster.local/ns/shop/sa/web', ['new.example', 'old.example']);
 * // => ['new.example/ns/shop/sa/web', 'old.example/ns/shop/sa/web']
 * ```
 */
export function withAliases(principal: string, domains: readonly string[]): readonly string[] {
  const [written, ...path] = principal.split('/');
  if (path.length !== 4 || written === '*' || domains.length === 0) return [principal];
  const ours = domains.some((domain) => matchesDomain(domain, written!)) || written === 'cluster.local';
  if (!ours) return [principal];
  return [...new Set(domains.map((domain) => (isSuffix(domain, written!) ? principal : [domain, ...path].join('/'))))];
}

/**
 * Expands a value of `trustDomains`. Each of the mesh's trust domains stands for all of them.
 * @example
 * ```ts
 * import { expandTrustDomain } from '@meshpass/istio';
 * expandTrustDomain('old.example', ['new.example', 'old.example']); // => ['new.example', 'old.example']
 * expandTrustDomain('other.example', ['new.example']); // => ['other.example']
 * ```
 */
export function expandTrustDomain(value: string, domains: readonly string[]): readonly string[] {
  return domains.includes(value) ? domains : [value];
}

function matchesDomain(domain: string, written: string): boolean {
  return domain === written || isSuffix(domain, written) || isPrefix(domain, written);
}

function isSuffix(domain: string, written: string): boolean {
  return written.startsWith('*') && domain.endsWith(written.slice(1));
}

function isPrefix(domain: string, written: string): boolean {
  return written.endsWith('*') && domain.startsWith(written.slice(0, -1));
}
