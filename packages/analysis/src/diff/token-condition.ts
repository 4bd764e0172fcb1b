/**
 * What policies ask of the token on a request. Its facts count only where the workload takes its issuer, which depends on the
 * RequestAuthentications there. Source: Istio's pilot/pkg/security/authz/model (requestPrincipalGenerator and others).
 */
import type { JwtRule, Resource } from '@meshpass/istio';
import { ALWAYS, all, any, type Condition, flag, NEVER, not, type TextField, text } from './formula/condition.ts';
import { readText, type TextTest } from './formula/text-test.ts';

const PRESENT: TextTest = { form: 'present' };

export interface TokenConditions {
  /** A token of an issuer and an audience that the workload takes. */
  readonly accepted: Condition;
  /** No token that the workload has to refuse: unverified, or of a foreign audience. */
  readonly tolerable: Condition;
}

/** Where a token stands that verifies, by its issuer: wherever some rule about that issuer looks. */
export type TokenPlaces = ReadonlyMap<string, ReadonlySet<string>>;

/** @param resources of all states that are compared: the same token is shown to each */
export function tokenPlaces(resources: readonly Resource[]): TokenPlaces {
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
 * As Envoy carries out the requirement that istiod writes, "any of the rules, or no token": a rule takes a token of its issuer and
 * audiences where nothing that it finds in its places fails to verify. One rule that takes a token is enough, whatever stands in
 * places of others. Otherwise none of the rules may find a token, also not one of an issuer that none of them is about.
 * @param rules of every RequestAuthentication of a workload; without any, tokens are not looked at
 */
export function tokenConditions(rules: readonly JwtRule[], places: TokenPlaces): TokenConditions {
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

/** Where a workload with these rules looks for tokens: `header x-token`, `parameter token`, `cookie token`. */
export function locationsOf(rules: readonly JwtRule[]): readonly string[] {
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

/** `requestPrincipals`: ISSUER/SUBJECT, split at the last slash. */
export function requestPrincipal(value: string): Condition {
  const at = value.lastIndexOf('/');
  const [issuer, subject] = at < 0 ? [value, ''] : [value.slice(0, at), value.slice(at + 1)];
  const both = (forIssuer: TextTest, forSubject: TextTest) =>
    all([text('token.issuer', forIssuer), text('token.subject', forSubject)]);
  if (value === '*') return both(PRESENT, PRESENT);
  if (value.startsWith('*')) {
    if (at < 0) return both(PRESENT, { form: 'suffix', text: value.slice(1) });
    const forIssuer: TextTest = issuer === '*' ? PRESENT : { form: 'suffix', text: issuer.slice(1) };
    return both(forIssuer, { form: 'exact', text: subject });
  }
  if (value.endsWith('*')) {
    if (at < 0) return both({ form: 'prefix', text: value.slice(0, -1) }, PRESENT);
    const forSubject: TextTest = subject === '*' ? PRESENT : { form: 'prefix', text: subject.slice(0, -1) };
    return both({ form: 'exact', text: issuer }, forSubject);
  }
  // Without a slash it names an issuer whose token has an empty subject: none.
  return at < 0 ? NEVER : both({ form: 'exact', text: issuer }, { form: 'exact', text: subject });
}

/** A claim, by the names that lead to it. */
export function claim(names: readonly string[], value: string): Condition {
  const single: Partial<Record<string, TextField>> = { iss: 'token.issuer', sub: 'token.subject' };
  const field = (names.length === 1 && single[names[0]!]) || (`token.claim:${names.join('][')}` as const);
  return text(field, readText(value));
}
