import { items } from '@meshpass/istio/members';
import type { Rule } from '../rule.ts';

/** Keys that istiod fetches decide who can make tokens. */
export const jwksByUrl: Rule = {
  code: 'MP403',
  name: 'jwks-by-url',
  severity: 'note',
  title: 'Token keys are fetched from a URL',
  fix: 'Write the keys inline (`jwks`) and let a reconciler update them, or use the https URL of the issuer itself.',
  *check(context) {
    for (const policy of context.mesh.all('RequestAuthentication')) {
      for (const [index, rule] of items(policy.spec.jwtRules).entries()) {
        const member = rule.jwksUri !== undefined ? 'jwksUri' : 'jwks_uri';
        const url = rule[member];
        if (url === undefined) {
          if (rule.jwks !== undefined || rule.issuer === undefined) continue;
          yield {
            on: policy,
            path: ['spec', 'jwtRules', index, 'issuer'],
            message: `without jwks or jwksUri, istiod fetches the keys from ${rule.issuer} (OpenID Discovery): it must be able to reach the issuer, and new keys take effect only after minutes.`,
          };
          continue;
        }
        const plain = url.startsWith('http://');
        const foreign =
          !plain &&
          hostOf(url) !== undefined &&
          hostOf(rule.issuer ?? '') !== undefined &&
          siteOf(url) !== siteOf(rule.issuer!);
        yield {
          on: policy,
          path: ['spec', 'jwtRules', index, member],
          severity: plain ? 'error' : foreign ? 'warning' : 'note',
          message: plain
            ? `istiod fetches these keys without TLS: whoever is on the way makes tokens of ${rule.issuer ?? 'this issuer'}.`
            : foreign
              ? `the keys of ${rule.issuer} are fetched from ${hostOf(url)}: who writes there makes its tokens.`
              : 'istiod fetches these keys: it must reach the URL, new keys count after minutes, and a refusal there stops every new Envoy.',
        };
      }
    }
  },
};

function hostOf(url: string): string | undefined {
  return URL.canParse(url) ? new URL(url).hostname : undefined;
}

/** The last two labels: `login.example.com` and `keys.example.com` are one house. */
function siteOf(url: string): string {
  return (hostOf(url) ?? '').split('.').slice(-2).join('.');
}
