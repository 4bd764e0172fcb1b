/**
 * Lists the known identities in a mesh, based on its objects and policies. The list contains an example of every kind
 * of identity that policies can tell apart.
 */

import type { AuthorizationRule, MeshView } from '@meshpass/istio';
import { passesTest, textsOf } from '../diff/formula/text-test.ts';
import { splitRequestPrincipal } from '../diff/token-condition.ts';
import { testsOfRule } from '../envoy-rule.ts';
import type { Caller } from './caller.ts';
import type { Endpoint } from './target.ts';

export interface KnownCaller extends Caller {
  /**
   * The caller's display name: `shop/client`, `nobody (plain text)` or `a stranger in the mesh`, possibly followed by
   * its token.
   */
  readonly name: string;
}

/** A name that no real identity has. */
const STRANGER = 'meshpass-stranger';

/**
 * Lists all ServiceAccounts that appear in objects, workloads and policies, along with an unauthenticated caller and a
 * mesh identity that no object mentions.
 */
export function knownPeers(view: MeshView): readonly KnownCaller[] {
  const { trustDomain } = view.config;
  const names = new Set<string>();
  for (const { namespace, serviceAccount } of view.workloads) names.add(`${namespace}/${serviceAccount}`);
  for (const { metadata } of view.all('ServiceAccount')) names.add(`${metadata.namespace}/${metadata.name}`);
  for (const rule of view.all('AuthorizationPolicy').flatMap(({ spec }) => spec.rules ?? [])) {
    for (const principal of principalsOf(rule)) {
      const [domain, ns, namespace, sa, name, ...rest] = principal.split('/');
      const ours = domain === trustDomain || domain === 'cluster.local' || domain === '*';
      if (ours && ns === 'ns' && sa === 'sa' && rest.length === 0 && !`${namespace}${name}`.includes('*'))
        names.add(`${namespace}/${name}`);
    }
  }
  const accounts = [...names].sort().map((name): KnownCaller => {
    const [namespace, account] = name.split('/');
    return { name, principal: `${trustDomain}/ns/${namespace}/sa/${account}` };
  });
  return [
    ...accounts,
    { name: 'a stranger in the mesh', principal: `${trustDomain}/ns/${STRANGER}/sa/${STRANGER}` },
    { name: 'nobody (plain text)' },
  ];
}

/**
 * Lists tokens that the endpoint's rules accept: one for each issuer with an unknown subject, and the ones that its
 * policies require.
 */
export function knownTokens(
  endpoint: Endpoint,
): readonly { readonly name: string; readonly claims: Record<string, unknown> }[] {
  const { tokenRules, policies } = endpoint.authorizer;
  const rules = policies.flatMap(({ spec }) => spec.rules ?? []);
  return tokenRules.flatMap(({ issuer, audiences }) => {
    if (issuer === undefined) return [];
    const base = { iss: issuer, sub: STRANGER, ...(audiences?.[0] !== undefined && { aud: [audiences[0]] }) };
    const asked = rules.flatMap((rule) => claimsRequiredBy(rule, issuer));
    const found = new Map<string, Record<string, unknown>>([['anybody', base]]);
    for (const claims of asked) {
      const whole = { ...base, ...claims };
      const more = Object.entries(claims).filter(([name]) => name !== 'sub' && name !== 'iss');
      const name = [claims.sub ?? 'anybody', ...more.map(([claim, value]) => `${claim}=${JSON.stringify(value)}`)].join(
        ' with ',
      );
      found.set(name, whole);
    }
    return [...found].map(([name, claims]) => ({ name: `a token of ${issuer} for ${name}`, claims }));
  });
}

/** Lists all principals that a rule mentions. */
export function principalsOf(rule: AuthorizationRule): readonly string[] {
  return testsOfRule(rule).flatMap(({ field, values, notValues }) =>
    field === 'source.principal' ? [...values, ...notValues] : [],
  );
}

/**
 * Lists sets of claims that can satisfy a rule. Only exact values are considered: the first value of each condition,
 * combined with each of the subjects in the rule.
 */
function claimsRequiredBy(rule: AuthorizationRule, issuer: string): readonly Record<string, unknown>[] {
  const claims: Record<string, unknown> = {};
  const subjects: string[] = [];
  for (const { field, path, values } of testsOfRule(rule)) {
    if (field === 'request.auth.principal') {
      const wanted = values.map(splitRequestPrincipal).filter((one) => passesTest(one.issuer, issuer));
      subjects.push(
        ...textsOf(
          wanted.map(({ subject }) => subject),
          'exact',
        ).filter((subject) => subject !== ''),
      );
    }
    const first = values.find((value) => !value.includes('*'));
    if (field === 'request.auth.claims' && path[0] !== 'iss' && first !== undefined)
      nest(claims, path, path.join() === 'aud' ? [first] : first);
  }
  if (subjects.length > 0) return subjects.map((sub) => ({ ...claims, sub }));
  return Object.keys(claims).length > 0 ? [claims] : [];
}

function nest(claims: Record<string, unknown>, [first, ...rest]: readonly string[], value: unknown): void {
  if (first === undefined) return;
  if (rest.length === 0) claims[first] = value;
  else {
    const inner = typeof claims[first] === 'object' ? { ...(claims[first] as Record<string, unknown>) } : {};
    nest(inner, rest, value);
    claims[first] = inner;
  }
}
