/** Which claims of a proof have to be in an identity token, because some endpoint demands them. */
import type { Access, ClaimValues } from '../model.ts';
import { claimTexts } from './who.ts';

/**
 * What some of the grants require somewhere and a proof has: claims by name, and of their values only those that are
 * asked for. Everything else stays out of tokens.
 * @param grants names
 * @param claims of the attestation
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
  const wanted = new Map<string, Set<string>>();
  const ask = (require: ClaimValues | undefined) => {
    for (const [name, values] of Object.entries(require ?? {})) {
      wanted.set(name, new Set([...(wanted.get(name) ?? []), ...values]));
    }
  };
  for (const grant of access.grants) {
    if (!grants.includes(grant.name)) continue;
    for (const { require, allow } of grant.to) {
      ask(require);
      for (const operation of allow ?? []) ask(operation.require);
    }
  }
  return Object.fromEntries(
    [...wanted]
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .flatMap(([name, values]) => {
        const texts = claimTexts(claims, name)?.filter((text) => values.has(text)) ?? [];
        return texts.length > 0 ? [[name, texts]] : [];
      }),
  );
}
