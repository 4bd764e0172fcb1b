import { entriesOf, rulesOf, sourcesOf } from '../policy-rules.ts';
import type { Rule } from '../rule.ts';

/** `requestPrincipals` is issuer, slash, subject; Istio splits at the last slash. */
export const subjectWithSlash: Rule = {
  code: 'MP307',
  name: 'subject-with-slash',
  severity: 'error',
  title: 'A request principal has a / in its subject, and Istio splits at the last one',
  fix: 'Match the claims one by one: `when: [{key: request.auth.claims[iss], ...}, {key: request.auth.claims[sub], ...}]`.',
  *check(context) {
    const issuers = new Set(
      context.mesh
        .all('RequestAuthentication')
        .flatMap(({ spec }) => (spec.jwtRules ?? []).map(({ issuer }) => issuer ?? '')),
    );
    for (const policy of context.mesh.all('AuthorizationPolicy')) {
      for (const rule of rulesOf(policy)) {
        for (const source of sourcesOf(rule)) {
          for (const { list, text, path } of entriesOf(source)) {
            if (!/^(?:not)?requestPrincipals$/i.test(list)) continue;
            const why = whySplit(text, issuers);
            if (why) yield { on: policy, path, message: `${JSON.stringify(text)} never matches: ${why}.` };
          }
        }
      }
    }
  },
};

function whySplit(principal: string, issuers: ReadonlySet<string>): string | undefined {
  if (principal.startsWith('*') || principal.endsWith('*')) return undefined;
  const slash = principal.lastIndexOf('/');
  if (slash < 0) return 'it has no subject; write ISSUER/SUBJECT, or ISSUER/*';
  const issuer = principal.slice(0, slash);
  if (issuers.has(issuer)) return undefined;
  const known = [...issuers].find((one) => one !== '' && principal.startsWith(`${one}/`));
  if (known === undefined && issuers.size > 0) return undefined;
  const inner =
    known === undefined ? issuer.replace(/^https?:\/\/[^/]+/, '') : principal.slice(known.length + 1, slash);
  // Without the issuers at hand: the forms of subjects that have slashes (GitHub Actions, SPIFFE, Kubernetes has none).
  if (known === undefined && !/(?:^|\/)(?:repo:|spiffe:)/.test(inner)) return undefined;
  return `Istio takes ${JSON.stringify(issuer)} for the issuer, because it splits at the last /`;
}
