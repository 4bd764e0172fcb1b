/** Defines rules about which tokens are accepted, and about which workloads require one. */
import { memoize } from '@meshpass/identity';
import {
  type AuthorizationPolicy,
  actionOf,
  isDryRun,
  type Path,
  type RequestAuthentication,
  selectorOf,
  selects,
  targetRefs,
} from '@meshpass/istio';
import { items, texts } from '@meshpass/istio/members';
import type { LintContext } from '../context.ts';
import { conditionsOf, jwtRules, objectsOfKind, rulesOf, sourcesOf } from '../parts.ts';
import { each, type Problem, type Rule } from '../rule.ts';

/** Reports rules that match token claims although no RequestAuthentication verifies the tokens. */
const claimsWithoutAuthentication: Rule = {
  code: 'MP316',
  name: 'claims-without-authentication',
  severity: 'warning',
  title: 'A rule matches token claims, but no RequestAuthentication verifies tokens',
  fix: 'Add a RequestAuthentication that selects the same workloads.',
  check: each(objectsOfKind('AuthorizationPolicy'), ({ on }, context) => {
    const all = context.mesh.all('RequestAuthentication');
    // If the files contain no RequestAuthentication for the namespace, it is probably defined elsewhere.
    if (!context.complete && !all.some((one) => one.metadata.namespace === on.metadata.namespace)) return undefined;
    const at = firstClaim(on);
    if (!at || all.some((one) => meet(context, on, one) !== false)) return undefined;
    const effect =
      actionOf(on) === 'DENY'
        ? 'a DENY of callers without a token denies every call, and a DENY by claim denies none'
        : 'this rule allows no call';
    const message = `no RequestAuthentication applies to these workloads, so no call has a verified token: ${effect}.`;
    return { at, part: 'key', message };
  }),
};

function firstClaim(policy: AuthorizationPolicy): Path | undefined {
  for (const rule of rulesOf(policy)) {
    for (const { value, path } of sourcesOf(rule)) {
      const list = (['requestPrincipals', 'notRequestPrincipals'] as const).find((one) => texts(value[one]).length > 0);
      if (list) return [...path, list];
    }
    for (const { value, path } of conditionsOf(rule)) {
      if (String(value.key).startsWith('request.auth.')) return [...path, 'key'];
    }
  }
  return undefined;
}

/**
 * Checks whether both policies apply to the same workload, based on the Pods that the first one selects. Returns
 * undefined if this depends on their `targetRefs`.
 */
function meet({ mesh }: LintContext, one: SelectingPolicy, other: SelectingPolicy): boolean | undefined {
  const { rootNamespace } = mesh.config;
  const places = new Set([one, other].map(({ metadata }) => metadata.namespace));
  places.delete(rootNamespace);
  if (places.size > 1) return false;
  const [refs, others] = [targetRefs(one.spec), targetRefs(other.spec)];
  if (refs.length > 0 || others.length > 0)
    return refs.some(({ name }) => others.some((target) => target.name === name)) || undefined;
  const [wanted, meant] = [selectorOf(one) ?? {}, selectorOf(other) ?? {}];
  const pods = (places.size === 0 ? mesh.pods : [...places].flatMap(mesh.podsIn)).filter(({ labels }) =>
    selects(wanted, labels),
  );
  if (pods.length > 0) return pods.some(({ labels }) => selects(meant, labels));
  return Object.entries(meant).every(([name, value]) => wanted[name] === undefined || wanted[name] === value);
}

type SelectingPolicy = AuthorizationPolicy | RequestAuthentication;

/**
 * Reports RequestAuthentications without a policy that requires a token. By itself, a RequestAuthentication only
 * rejects invalid tokens and accepts calls that have none.
 */
const authenticationNotRequired: Rule = {
  code: 'MP401',
  name: 'authentication-not-required',
  severity: 'error',
  title: 'A RequestAuthentication without a policy that requires a token',
  fix: 'Add an AuthorizationPolicy for the same workloads: DENY with `notRequestPrincipals: ["*"]`, or ALLOW with `requestPrincipals`.',
  check: each(objectsOfKind('RequestAuthentication'), ({ on }, context) => {
    if (items(on.spec.jwtRules).length === 0) return undefined;
    const { mesh, complete } = context;
    const { namespace } = on.metadata;
    const { rootNamespace } = mesh.config;
    const policies =
      namespace === rootNamespace
        ? mesh.all('AuthorizationPolicy')
        : [namespace, rootNamespace].flatMap((one) => mesh.within('AuthorizationPolicy', one));
    if (policies.some((policy) => asksForToken(policy) && meet(context, on, policy))) return undefined;
    const where = namespace === rootNamespace ? 'the mesh' : `namespace ${namespace}`;
    return {
      at: ['spec', 'jwtRules'],
      part: 'key',
      // The policy may be in other files. If the mesh is complete, it is certain to be missing.
      severity: complete ? 'error' : 'warning',
      message: `a request without a token is allowed: no AuthorizationPolicy of ${where}${complete ? '' : ' among these files'} requires one for the same workloads.`,
    };
  }),
};

/**
 * Checks whether a policy requires a token. AUDIT policies and policies in dry-run mode do not, because they only log.
 */
const asksForToken = memoize(
  (policy: AuthorizationPolicy): boolean =>
    !isDryRun(policy) && actionOf(policy) !== 'AUDIT' && firstClaim(policy) !== undefined,
);

/**
 * Reports token keys that istiod fetches without TLS, or from a domain other than the issuer's. The owner of that URL
 * can issue tokens, so only an https URL of the issuer itself is safe.
 */
const jwksByUrl: Rule = {
  code: 'MP403',
  name: 'jwks-by-url',
  severity: 'warning',
  title: 'Token keys are fetched without TLS, or from another domain than the issuer',
  fix: 'Use the https URL of the issuer itself, or write the keys inline (`jwks`) and let a reconciler update them.',
  check: each(jwtRules, ({ value }) => {
    if (value.jwks !== undefined) return undefined;
    // If there is no URL, istiod asks the issuer for it (OpenID Discovery).
    const member = (['jwksUri', 'jwks_uri', 'issuer'] as const).find((one) => value[one] !== undefined);
    const problem = member && judgeUrl(String(value[member]), value.issuer);
    return problem && { at: [member], ...problem };
  }),
};

/**
 * Issuers that publish their keys on another site that belongs to the same owner. Source: the `jwks_uri` in each
 * issuer's OpenID configuration.
 */
const PUBLISHED_AT = new Map([
  ['accounts.google.com', 'www.googleapis.com'],
  ['securetoken.google.com', 'www.googleapis.com'],
  ['sts.windows.net', 'login.microsoftonline.com'],
]);

function judgeUrl(url: string, issuer: string | undefined): Problem | undefined {
  if (url.startsWith('http://')) {
    return {
      severity: 'error',
      message: `istiod fetches these keys without TLS: anyone on the network path can issue tokens of ${issuer ?? 'this issuer'}.`,
    };
  }
  const [host, issuerHost] = [hostOf(url), hostOf(issuer ?? '')];
  if (host === undefined || issuerHost === undefined || siteOf(host) === siteOf(issuerHost)) return undefined;
  if (PUBLISHED_AT.get(issuerHost) === host) return undefined;
  return {
    message: `the keys of ${issuer} are fetched from ${host}: anyone who can write there can issue its tokens.`,
  };
}

function hostOf(url: string): string | undefined {
  return URL.canParse(url) ? new URL(url).hostname : undefined;
}

/** Returns the last two labels of a host: `login.example.com` and `keys.example.com` belong to the same site. */
function siteOf(host: string): string {
  return host.split('.').slice(-2).join('.');
}

/** Reports issuers whose tokens are accepted even if they were issued for other applications. */
const anyAudience: Rule = {
  code: 'MP404',
  name: 'any-audience',
  severity: 'warning',
  title: 'Tokens of an issuer are accepted for any audience',
  fix: 'Set the audience of this mesh: `audiences: [meshpass]`.',
  check: each(jwtRules, ({ value: { audiences, issuer = 'this issuer' } }) => {
    if (texts(audiences).length > 0) return undefined;
    return {
      message: `every token of ${issuer} is accepted, whichever application it was issued for: the operator of any such application can replay its users' tokens here.`,
    };
  }),
};

export const TOKEN_RULES: readonly Rule[] = [
  claimsWithoutAuthentication,
  authenticationNotRequired,
  jwksByUrl,
  anyAudience,
];
