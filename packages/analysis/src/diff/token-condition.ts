/**
 * Creates conditions on the token in a request. A token only counts if the workload accepts its issuer, which depends
 * on the workload's RequestAuthentications. Source: Istio's pilot/pkg/security/authz/model (requestPrincipalGenerator
 * and others).
 */
import type { JwtRule, Resource } from '@meshpass/istio';
import { ALWAYS, all, any, type Condition, flag, NEVER, not, type TextField, text } from './formula/condition.ts';
import { parseTextTest, type TextTest } from './formula/text-test.ts';

const PRESENT: TextTest = { form: 'present' };

export interface TokenConditions {
  /** Whether the workload accepts the token's issuer and audience. */
  readonly accepted: Condition;
  /**
   * Whether the call contains no token that the workload has to reject, either because it cannot be verified or because
   * it is meant for a different audience.
   */
  readonly tolerable: Condition;
}

/** The locations of valid tokens, by issuer. An issuer's locations are all those that any of its rules reads. */
export type TokenLocations = ReadonlyMap<string, ReadonlySet<string>>;

/**
 * Collects the locations that workloads read tokens from.
 * @param resources the resources of all states that are compared, because every state receives the same token
 */
export function tokenLocations(resources: readonly Resource[]): TokenLocations {
  const places = new Map<string, Set<string>>();
  for (const one of resources) {
    for (const rule of one.kind === 'RequestAuthentication' ? (one.spec.jwtRules ?? []) : []) {
      const known = places.get(rule.issuer ?? '') ?? new Set();
      for (const location of locationsOf([rule])) known.add(location);
      places.set(rule.issuer ?? '', known);
    }
  }
  return places;
}

/**
 * Translates istiod's requirement, "any of the rules, or no token", in the way that Envoy enforces it. A rule accepts a
 * token from its issuer for its audiences, unless a token in any of the rule's locations fails verification. If at
 * least one rule accepts, the tokens in the locations of other rules do not matter. Otherwise, none of the rules may
 * find a token, not even one whose issuer has no rule.
 * @param rules the rules of all RequestAuthentications that apply to a workload; without rules, tokens are ignored
 */
export function tokenConditions(rules: readonly JwtRule[], places: TokenLocations): TokenConditions {
  const of = (issuer: string | undefined) => text('token.issuer', issuer ? { form: 'exact', text: issuer } : PRESENT);
  const taken = rules.map(({ issuer, audiences, ...rule }) => {
    const meant = (audiences ?? []).map((one) => text('token.claim:aud', { form: 'exact', text: one }));
    const unverified = locationsOf([rule]).map((location) => flag(`unverified:${location}`));
    return all([of(issuer), meant.length > 0 ? any(meant) : ALWAYS, not(any(unverified))]);
  });
  const looked = locationsOf(rules);
  const found = [
    ...[...places].flatMap(([issuer, where]) => (looked.some((one) => where.has(one)) ? [of(issuer)] : [])),
    ...looked.map((location) => flag(`unverified:${location}`)),
  ];
  const accepted = any(taken);
  return { accepted, tolerable: any([accepted, not(any(found))]) };
}

/**
 * Lists the locations from which a workload with these rules reads tokens, such as `header x-token`, `parameter token`
 * and `cookie token`.
 */
function locationsOf(rules: readonly JwtRule[]): readonly string[] {
  const all = rules.flatMap(({ fromHeaders = [], fromParams = [], fromCookies = [] }) => {
    if (fromHeaders.length + fromParams.length + fromCookies.length === 0) {
      return ['header authorization', 'parameter access_token'];
    }
    return [
      ...fromHeaders.map(({ name }) => `header ${name.toLowerCase()}`),
      ...fromParams.map((name) => `parameter ${name}`),
      ...fromCookies.map((name) => `cookie ${name}`),
    ];
  });
  return [...new Set(all)].sort();
}

/** Creates the condition for an entry of `requestPrincipals`. */
export function requestPrincipal(value: string): Condition {
  const { issuer, subject } = splitRequestPrincipal(value);
  // A value without a slash would require an empty subject, which no token has.
  if (!value.includes('/') && subject.form === 'exact') return NEVER;
  return all([text('token.issuer', issuer), text('token.subject', subject)]);
}

/**
 * Splits an entry of `requestPrincipals`, which is ISSUER/SUBJECT, at the last slash. Either part can start or end with
 * `*`, but only one of them is compared as a pattern.
 */
export function splitRequestPrincipal(value: string): { readonly issuer: TextTest; readonly subject: TextTest } {
  const slash = value.lastIndexOf('/');
  const [issuer, subject] = slash < 0 ? [value, ''] : [value.slice(0, slash), value.slice(slash + 1)];
  const exact = (text: string): TextTest => ({ form: 'exact', text });
  if (value === '*') return { issuer: PRESENT, subject: PRESENT };
  if (value.startsWith('*')) {
    if (slash < 0) return { issuer: PRESENT, subject: parseTextTest(value) };
    return { issuer: parseTextTest(issuer), subject: exact(subject) };
  }
  if (value.endsWith('*')) {
    if (slash < 0) return { issuer: parseTextTest(value), subject: PRESENT };
    return { issuer: exact(issuer), subject: parseTextTest(subject) };
  }
  return { issuer: exact(issuer), subject: exact(subject) };
}

/**
 * Creates a condition that tests a claim of the token.
 * @param names the path to the claim. If it is empty, the test applies to the set of all claims, which is not a text
 */
export function claimCondition(names: readonly string[], value: string): Condition {
  if (names.length === 0) return NEVER;
  const single: Partial<Record<string, TextField>> = { iss: 'token.issuer', sub: 'token.subject' };
  const field = (names.length === 1 && single[names[0]!]) || (`token.claim:${names.join('][')}` as const);
  return text(field, parseTextTest(value));
}
