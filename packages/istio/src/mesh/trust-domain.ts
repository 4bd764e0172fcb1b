/** Trust domains: the mesh's own, its other names, and those whose certificates it takes. Source: pilot/pkg/security/trustdomain/bundle.go. */
import type { MeshConfig } from './mesh-config.ts';

/** The mesh's trust domain, and what it is also called. */
export type TrustDomains = Pick<MeshConfig, 'trustDomain' | 'trustDomainAliases'>;

/**
 * The mesh's own first, then its aliases: what a principal of the mesh may begin with.
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
 * Domains whose certificates a sidecar takes at all: the mesh's, and those of further authorities (`caCertificates`).
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
 * A principal of a policy as istiod writes it: one of this mesh is meant under all of its names, and `cluster.local` is a name for them.
 * @param domains as `trustDomainsOf` gives them
 * @example
 * ```ts
 * import { withAliases } from '@meshpass/istio';
 * withAliases('cluster.local/ns/shop/sa/web', ['new.example', 'old.example']);
 * // => ['new.example/ns/shop/sa/web', 'old.example/ns/shop/sa/web']
 * ```
 */
export function withAliases(principal: string, domains: readonly string[]): readonly string[] {
  const [written, ...path] = principal.split('/');
  if (path.length !== 4 || written === '*') return [principal];
  const ours = domains.some((domain) => matchesDomain(domain, written!)) || written === 'cluster.local';
  if (!ours) return [principal];
  return [...new Set(domains.map((domain) => (isSuffix(domain, written!) ? principal : [domain, ...path].join('/'))))];
}

/**
 * A value of `trustDomains`: one of the mesh's names means all of them.
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
