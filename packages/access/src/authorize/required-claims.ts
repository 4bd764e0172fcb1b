/** Selects the claims that an identity token must contain because endpoints require them. */
import { claimsDemanded } from '../compile/http-rules.ts';
import type { Access, ClaimValues } from '../model.ts';
import { claimStrings } from './who.ts';

/**
 * Selects the claims in the proof that any of the grants requires, and keeps only the required values. All other claims
 * are left out of identity tokens.
 * @param grants the names of the grants
 * @param claims the claims in the attestation
 * @example
 * ```ts
 * import { claimsRequired, parseAccess } from '@meshpass/access';
 * const access = parseAccess(`
 * trust: {codespaces: {organization: acme}, issuers: {okta: {issuer: 'https://acme.okta.com', audience: meshpass}}}
 * grants:
 *   dev:
 *     who: [{issuer: okta, claims: {groups: [dev]}}]
 *     to: [{service: orders.shop, port: 80, require: {department: [finance, audit]}}]`, 'access.yaml');
 * claimsRequired(access, ['dev'], { department: 'audit', groups: ['dev'] }); // => { department: ['audit'] }
 * ```
 */
export function claimsRequired(
  access: Access,
  grants: readonly string[],
  claims: Readonly<Record<string, unknown>>,
): ClaimValues {
  const demanded = claimsDemanded(access.grants.filter(({ name }) => grants.includes(name)).flatMap(({ to }) => to));
  return Object.fromEntries(
    Object.entries(demanded).flatMap(([name, values]) => {
      const texts = claimStrings(claims, name)?.filter((text) => values.includes(text)) ?? [];
      return texts.length > 0 ? [[name, texts]] : [];
    }),
  );
}
