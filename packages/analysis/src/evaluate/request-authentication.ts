/**
 * Evaluates RequestAuthentication in the same way as Envoy's `jwt_authn` filter does with the requirements that istiod
 * generates. The first rule, ordered by issuer, whose tokens are all valid is accepted. If there is no such rule, the
 * request must not contain a token in any location that a rule reads.
 */
import type { JwtRule, RequestAuthentication } from '@meshpass/istio';
import { compare } from '@meshpass/istio/members';
import type { Call, CallToken, Decision, HttpCall, RuleRef } from './call.ts';
import { ruleRef } from './rule/refs.ts';
import {
  type ExtractedToken,
  type RequestHeaders,
  type Run,
  setRequestHeader,
  tokenLocations,
} from './token-places.ts';

export type TokenOutcome =
  | {
      readonly valid: true;
      /** The claims of the accepted token. Undefined if the request has no token. */
      readonly claims?: Readonly<Record<string, unknown>>;
      /** The request headers after the check. Headers that were removed have the value undefined. */
      readonly headers: RequestHeaders | undefined;
    }
  | { readonly valid: false; readonly decision: Decision };

interface CheckedTokens {
  readonly outcome: TokenOutcome;
  /**
   * The outcome in Envoy versions before 1.40, if the call sends headers that a rule writes. These versions only remove
   * the headers of a rule when they evaluate that rule. The caller's headers therefore remain in preflight requests,
   * and whenever an earlier rule ends the check.
   */
  readonly older?: { readonly outcome: TokenOutcome; readonly headers: readonly string[] };
}

type TokenCheck = (call: Call, http: HttpCall) => CheckedTokens;

/** The clock skew that Envoy tolerates, in seconds. */
const CLOCK_SKEW = 60;
/** The outcome for a request that has no token and whose headers do not change. */
export const NONE: TokenOutcome = { valid: true, headers: undefined };
const NOTHING: CheckedTokens = { outcome: NONE };

/**
 * Compiles the JWT rules of all policies into a single check.
 * @param policies the policies that apply, in istiod's order: the workload's namespace before the root namespace
 * @returns the check, or undefined if there is nothing to check
 */
export function compileTokenCheck(policies: readonly RequestAuthentication[]): TokenCheck | undefined {
  const rules = policies
    .flatMap((policy) => (policy.spec.jwtRules ?? []).map((rule, index) => ({ rule, ref: ruleRef(policy, index) })))
    .sort((a, b) => compare(a.rule.issuer ?? '', b.rule.issuer ?? ''))
    .map(({ rule, ref }) => provider(rule, ref));
  if (rules.length === 0) return undefined;
  const written = [...new Set(rules.flatMap(({ outputs }) => outputs))];
  return (call, http) => {
    if (!http.headers && !http.path.includes('?')) return NOTHING;
    const headers = written.filter((name) => http.headers?.[name] !== undefined);
    if (headers.length === 0) return { outcome: checked(rules, call, http, http.headers) };
    // Since version 1.40, Envoy removes these headers first (`jwt_authn_sanitize_payload_headers_filter_wide`).
    const removed = { ...http.headers, ...Object.fromEntries(headers.map((name) => [name, undefined])) };
    const outcome = checked(rules, call, http, removed);
    return { outcome, older: { headers, outcome: checked(rules, call, http, http.headers) } };
  };
}

/** @param headers the request headers at the time the rules are evaluated */
function checked(
  rules: readonly Provider[],
  call: Call,
  http: HttpCall,
  headers: RequestHeaders | undefined,
): TokenOutcome {
  const run: Run = { call, headers, path: http.path, claims: undefined };
  if (isPreflight(http)) return done(run, http);
  const outcomes: { readonly one: Provider; readonly outcome: Outcome }[] = [];
  for (const one of rules) {
    const outcome = one.verify(run);
    if (outcome === 'ok') return done(run, http);
    outcomes.push({ one, outcome });
  }
  // No rule accepts the request, so no rule may find a token either. The rules are checked again, because any tokens
  // that they accepted have since been removed. The check ends at the first rule that finds a token.
  const again = (rules.length > 1 ? rules : []).map((one) => ({ one, outcome: one.verify(run) }));
  const found = again.find(({ outcome }) => outcome !== 'ok' && outcome !== 'missing');
  if (rules.length > 1 && !found) return done(run, http);
  if (found) outcomes.push(found);
  const blamed = outcomes.findLast(({ outcome }) => outcome === 'invalid' || outcome === 'audience');
  const failed = blamed ?? outcomes.find(({ outcome }) => outcome === 'foreign');
  if (!failed) return done(run, http);
  const status = failed.outcome === 'audience' ? 403 : 401;
  return {
    valid: false,
    decision: { allowed: false, reason: 'invalid-token', status, rule: failed.one.ref, as: 'http' },
  };
}

/** The outcome of a single rule. `foreign` means that the token was issued by someone other than the rule's issuer. */
type Outcome = 'ok' | 'missing' | 'foreign' | 'invalid' | 'audience';

interface Provider {
  readonly ref: RuleRef;
  /** The names of the headers that the rule writes, in lower case. Values that the caller sent for them are removed. */
  readonly outputs: readonly string[];
  /** Verifies every token that the rule finds, starting with the last one. All of them have to be valid. */
  readonly verify: (run: Run) => Outcome;
}

function done({ headers, claims }: Run, http: HttpCall): TokenOutcome {
  if (!claims && headers === http.headers) return NONE;
  return claims ? { valid: true, headers, claims } : { valid: true, headers };
}

function provider(rule: JwtRule, ref: RuleRef): Provider {
  const find = tokenLocations(rule);
  const outputs = [
    ...(rule.outputPayloadToHeader ? [rule.outputPayloadToHeader] : []),
    ...(rule.outputClaimToHeaders ?? []).flatMap(({ header }) => header ?? []),
  ].map((name) => name.toLowerCase());
  const audiences = rule.audiences && rule.audiences.length > 0 ? new Set(rule.audiences.map(audience)) : undefined;
  const spaced = ['scope', 'permission', ...(rule.spaceDelimitedClaims ?? [])];
  const verify = (run: Run): Outcome => {
    for (const name of outputs) if (run.headers?.[name] !== undefined) setRequestHeader(run, name, undefined);
    const tokens = find(run);
    let outcome: Outcome = 'missing';
    for (let index = tokens.length - 1; index >= 0; index--) {
      const found = tokens[index]!;
      const token = run.call.tokens?.find(({ text }) => text === found.text);
      outcome = verifyToken(token, rule, audiences, run.call.now);
      if (outcome !== 'ok') return outcome;
      take(run, rule, token!.claims!, spaced, found);
    }
    return outcome;
  };
  return { ref, outputs, verify };
}

function verifyToken(
  token: CallToken | undefined,
  rule: JwtRule,
  audiences: ReadonlySet<string> | undefined,
  now: number | undefined,
): Outcome {
  const claims = token?.claims;
  if (!claims || !isWellFormed(claims)) return 'invalid';
  if (rule.issuer && claims.iss !== rule.issuer) return 'foreign';
  const { exp, nbf } = claims as { exp?: number; nbf?: number };
  if (now !== undefined) {
    if (nbf !== undefined && now + CLOCK_SKEW < nbf) return 'invalid';
    if (exp !== undefined && now > exp + CLOCK_SKEW) return 'invalid';
  }
  if (audiences && !isAudience(claims.aud, audiences)) return 'audience';
  return token.genuine === false ? 'invalid' : 'ok';
}

/** Normalizes an audience in the same way as Envoy's verifier, by removing the scheme and a trailing slash. */
function audience(text: string): string {
  return text.replace(/^https?:\/\//, '').replace(/\/$/, '');
}

function isAudience(given: unknown, wanted: ReadonlySet<string>): boolean {
  if (typeof given === 'string') return wanted.has(audience(given));
  return Array.isArray(given) && given.some((one: string) => wanted.has(audience(one)));
}

function isWellFormed({ iss, sub, jti, aud, exp, nbf, iat }: Readonly<Record<string, unknown>>): boolean {
  if (!isText(iss) || !isText(sub) || !isText(jti) || !isTime(exp) || !isTime(nbf) || !isTime(iat)) return false;
  return isText(aud) || (Array.isArray(aud) && aud.every((one) => typeof one === 'string'));
}

function isText(value: unknown): boolean {
  return value === undefined || typeof value === 'string';
}

function isTime(value: unknown): boolean {
  return value === undefined || (typeof value === 'number' && value >= 0);
}

function take(
  run: Run,
  rule: JwtRule,
  claims: Readonly<Record<string, unknown>>,
  spaced: readonly string[],
  found: ExtractedToken,
): void {
  if (rule.outputPayloadToHeader) {
    add(run, rule.outputPayloadToHeader, Buffer.from(JSON.stringify(claims)).toString('base64url'));
  }
  for (const { header, claim } of rule.outputClaimToHeaders ?? []) {
    const text = header && claim ? claimText(claims, claim) : undefined;
    if (header && text !== undefined && text !== '') add(run, header, text);
  }
  if (!rule.forwardOriginalToken) found.takeAway(run);
  run.claims = claims;
  for (const name of spaced) {
    const value = claims[name];
    if (typeof value === 'string') run.claims = { ...run.claims, [name]: value.split(' ').filter(Boolean) };
  }
}

function add(run: Run, header: string, value: string): void {
  const name = header.toLowerCase();
  const before = run.headers?.[name];
  setRequestHeader(run, name, before === undefined ? value : `${before},${value}`);
}

function claimText(claims: unknown, name: string): string | undefined {
  let found = claims;
  for (const step of name.split('.')) {
    if (typeof found !== 'object' || found === null || !Object.hasOwn(found, step)) return undefined;
    found = (found as Record<string, unknown>)[step];
  }
  if (typeof found === 'string' || typeof found === 'boolean') return String(found);
  if (typeof found !== 'number') return undefined;
  return Number.isInteger(found) && found >= 0 ? String(found) : found.toFixed(6);
}

/**
 * Whether a request is a CORS preflight, which carries no credentials and is always allowed (see "CORS-preflight fetch"
 * in the Fetch standard).
 */
function isPreflight({ method, headers }: HttpCall): boolean {
  return method === 'OPTIONS' && Boolean(headers?.origin) && Boolean(headers?.['access-control-request-method']);
}
