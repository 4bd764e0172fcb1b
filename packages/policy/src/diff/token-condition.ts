/**
 * What policies ask of the token on a request. Its facts count only where the workload takes its issuer, which depends on the
 * RequestAuthentications there. Source: Istio's pilot/pkg/security/authz/model (requestPrincipalGenerator and others).
 */
import type { JwtRule } from '../istio/security.ts';
import { ALWAYS, all, any, type Condition, flag, NEVER, not, type TextField, text } from './condition.ts';
import { readText, type TextTest } from './text-test.ts';

const PRESENT: TextTest = { form: 'present' };

export interface TokenConditions {
  /** A token of an issuer and an audience that the workload takes. */
  readonly accepted: Condition;
  /** No token that the workload has to refuse: unverified, or of a foreign audience. */
  readonly tolerable: Condition;
}

/** @param rules of every RequestAuthentication of a workload; without any, tokens are not looked at */
export function tokenConditions(rules: readonly JwtRule[]): TokenConditions {
  const byIssuer = Map.groupBy(
    rules.filter(({ issuer }) => issuer),
    ({ issuer }) => issuer!,
  );
  const taken: Condition[] = [];
  const foreign: Condition[] = [];
  for (const [issuer, ofIssuer] of byIssuer) {
    const from = text('token.issuer', { form: 'exact', text: issuer });
    const open = ofIssuer.some(({ audiences }) => !audiences?.length);
    const named = ofIssuer.flatMap(({ audiences }) => audiences ?? []);
    const meant = open ? ALWAYS : any(named.map((one) => text('token.claim:aud', { form: 'exact', text: one })));
    taken.push(all([from, meant]));
    foreign.push(all([from, not(meant)]));
  }
  const unverified = locationsOf(rules).map((location) => flag(`unverified:${location}`));
  return { accepted: any(taken), tolerable: not(any([...foreign, ...unverified])) };
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
