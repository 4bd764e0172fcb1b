/** Compiled guard of a workload. Policies are compiled once and not read again for each call. */

import {
  type AttachedService,
  type AuthorizationAction,
  type AuthorizationPolicy,
  actionOf,
  authorizationPolicies,
  customEffects,
  isDryRun,
  type JwtRule,
  type MeshConfig,
  type MeshView,
  type PeerMode,
  peerModesOf,
  providerOf,
  requestAuthentications,
  type SpokenProtocol,
  trustDomainsOf,
  trustedPeerDomains,
  type Workload,
  workloadPorts,
} from '@meshpass/istio';
import type { Call, Decision, Reason, RuleRef } from './call.ts';
import { Facts, type Test } from './facts.ts';
import { NONE, type TokenOutcome, tokenCheck } from './request-authentication.ts';
import { compileRule, namedPrincipals } from './rule/compile.ts';
import { normalizePath } from './rule/path.ts';
import { ruleRef } from './rule/refs.ts';

export interface Authorizer {
  readonly workload: Workload;
  /** Decides a call to this workload. Pure and fast, because policies are compiled. */
  readonly decide: (call: Call) => Decision;
  readonly protocolOf: (port: number) => SpokenProtocol;
  readonly peerMode: (port: number) => PeerMode;
  /** AuthorizationPolicies that apply. */
  readonly policies: readonly AuthorizationPolicy[];
  /** Token rules that apply. */
  readonly tokenRules: readonly JwtRule[];
}

/**
 * Compiles everything that applies to a workload into one decision function.
 * @param service destination of the call, for a waypoint
 * @param protocols protocols by port of the workload, instead of those that Services declare
 * @example
 * ```ts
 * import { createAuthorizer } from '@meshpass/analysis/evaluate';
 * import { loadManifests, viewMesh } from '@meshpass/istio';
 * const orders = `{apiVersion: v1, kind: Service, metadata: {name: orders, namespace: shop},
 *   spec: {selector: {app: orders}, ports: [{port: 80, name: http}]}}`;
 * const policy = `{apiVersion: security.istio.io/v1, kind: AuthorizationPolicy, metadata: {name: orders, namespace: shop},
 *   spec: {rules: [{from: [{source: {namespaces: [web]}}]}]}}`;
 * const view = viewMesh(loadManifests(`${orders}\n---\n${policy}`, 'shop.yaml').resources);
 * const [workload] = viewMesh(loadManifests(`{apiVersion: v1, kind: Pod, metadata: {name: orders, namespace: shop, labels: {app: orders}}}`, 'pod.yaml').resources).workloads;
 * const authorizer = createAuthorizer(view, workload!);
 * const http = { method: 'GET', path: '/', authority: 'orders.shop' };
 * authorizer.decide({ port: 80, principal: 'cluster.local/ns/web/sa/shop', http }).reason; // => 'allow-rule'
 * authorizer.decide({ port: 80, principal: 'cluster.local/ns/other/sa/x', http }).reason; // => 'no-allow-rule'
 * ```
 */
export function createAuthorizer(
  view: MeshView,
  workload: Workload,
  options: { readonly service?: AttachedService; readonly protocols?: ReadonlyMap<number, SpokenProtocol> } = {},
): Authorizer {
  const policies = authorizationPolicies(view, workload, options.service);
  const trustDomains = trustDomainsOf(view.config);
  const declared =
    options.protocols ??
    new Map([...workloadPorts(view, view.config, workload)].map(([port, { protocol }]) => [port, protocol]));
  const protocolOf = (port: number): SpokenProtocol => declared.get(port) ?? 'undeclared';
  const modes = peerModesOf(view, workload);
  const modeOf = (port: number): PeerMode => modes.ports.get(port) ?? modes.general;
  const http = ruleSets(policies, false, trustDomains, view.config);
  const tcp = ruleSets(policies, true, trustDomains, view.config);
  const authentications = requestAuthentications(view, workload, options.service);
  const checkTokens = tokenCheck(authentications);
  const tokenRules = authentications.flatMap(({ spec }) => spec.jwtRules ?? []);
  const { pathNormalization } = view.config;
  const ours = trustedPeerDomains(view.config).map((domain) => `${domain}/`);
  const isOurs = (principal: string): boolean => {
    for (const domain of ours) if (principal.startsWith(domain)) return true;
    return false;
  };

  const decide = (call: Call): Decision => {
    const { port } = call;
    const mode = modeOf(port);
    const mutual = call.principal !== undefined && mode.mode !== 'DISABLE';
    const as = spokenAs(protocolOf(port), call, mutual);
    if (mode.mode === 'STRICT' && call.principal === undefined)
      return { allowed: false, reason: 'plaintext', as, ...(mode.policy && { rule: ruleRef(mode.policy) }) };
    if (mutual && !isOurs(call.principal!)) return { allowed: false, reason: 'foreign-peer', as };
    // A calling sidecar knows that the port disables TLS, and sends plain text.
    const principal = mutual ? call.principal! : '';
    const sni = mode.mode === 'DISABLE' ? '' : (call.sni ?? '');
    return as === 'http'
      ? decideHttp(call, principal, sni)
      : decideByPolicies(tcp, new Facts(call, principal, sni), call, as);
  };

  const decideHttp = (call: Call, principal: string, sni: string): Decision => {
    if (!call.http) return NOT_HTTP;
    const path = normalizePath(call.http.path, pathNormalization);
    if (path === undefined) return MALFORMED_PATH;
    const factsOf = () => new Facts(call, principal, sni, call.http, path);
    const custom = decideByAuthorizers(http, factsOf(), call, 'http');
    if (custom && !custom.allowed) return custom;
    if (!checkTokens) return decideByPolicies(http, factsOf(), call, 'http', custom);
    const { outcome, older } = checkTokens(call, call.http);
    const decision = decideByTokens(http, outcome, factsOf(), call, custom);
    if (!older || decideByTokens(http, older.outcome, factsOf(), call, custom).allowed === decision.allowed)
      return decision;
    return { ...decision, headersOfOlderEnvoy: older.headers };
  };
  return { workload, decide, protocolOf, peerMode: modeOf, policies, tokenRules };
}

/**
 * Protocol that a port treats a call as. Only a mutual TLS handshake can announce a protocol other than the one it
 * carries. Plain text is recognized by its first bytes.
 */
function spokenAs(declared: SpokenProtocol, { announces, http }: Call, mutual: boolean): 'http' | 'tcp' {
  if (declared !== 'undeclared') return declared;
  return (mutual && announces) || (http ? 'http' : 'tcp');
}

const NOT_HTTP: Decision = { allowed: false, reason: 'not-http', as: 'http' };
const MALFORMED_PATH: Decision = { allowed: false, reason: 'malformed-path', status: 400, as: 'http' };
const OPEN = {
  http: { allowed: true, reason: 'open', as: 'http' },
  tcp: { allowed: true, reason: 'open', as: 'tcp' },
} as const;

interface CompiledRule {
  readonly ref: RuleRef;
  readonly test: Test;
  /** Decision for a match, created once. */
  readonly decision: Decision;
  readonly provider?: string;
  /** Principals that can match. The rule matches no other caller. */
  readonly principals?: readonly string[];
}

interface RuleSets {
  readonly deny: RuleIndex;
  /** Undefined if no ALLOW policy is enforced. */
  readonly allow: RuleIndex | undefined;
  readonly noAllow: Decision;
  readonly audit: readonly CompiledRule[];
  /** Rules whose matches require a request to an authorizer. */
  readonly customAsks: readonly CompiledRule[];
  /** Rules whose matches the proxy refuses without a request. */
  readonly customRefuses: readonly CompiledRule[];
  readonly dryDeny: RuleIndex | undefined;
  readonly dryAllow: RuleIndex | undefined;
}

function ruleSets(
  policies: readonly AuthorizationPolicy[],
  forTcp: boolean,
  trustDomains: readonly string[],
  { authorizers, isRead }: Pick<MeshConfig, 'authorizers' | 'isRead'>,
): RuleSets {
  const as = forTcp ? 'tcp' : 'http';
  const customs = policies.filter((policy) => actionOf(policy) === 'CUSTOM');
  const several = new Set(customs.map(providerOf)).size > 1;
  /** A configuration that was not read may define the provider, whose authorizer would then be asked. */
  const mayBeKnown = (provider: string | undefined): boolean =>
    provider !== undefined && !isRead && !several && !authorizers.some(({ name }) => name === provider);
  const of = (action: AuthorizationAction, dry: boolean) =>
    policies.filter((policy) => actionOf(policy) === action && isDryRun(policy) === dry);
  const compile = (some: readonly AuthorizationPolicy[], action: AuthorizationAction): readonly CompiledRule[] =>
    some.flatMap((policy) =>
      (policy.spec.rules ?? []).flatMap((rule, index) => {
        const context = { namespace: policy.metadata.namespace, action, forTcp, trustDomains };
        const test = compileRule(rule, context);
        if (!test) return [];
        const ref = ruleRef(policy, index);
        const provider = action === 'CUSTOM' ? providerOf(policy) : undefined;
        const decision = decisionOf(action, ref, as);
        const principals = namedPrincipals(rule, trustDomains);
        return [
          {
            ref,
            test,
            decision: mayBeKnown(provider) ? { ...decision, unknownProvider: provider! } : decision,
            ...(provider !== undefined && { provider }),
            ...(principals && { principals }),
          },
        ];
      }),
    );
  const allow = of('ALLOW', false);
  const dryAllow = of('ALLOW', true);
  const dryDeny = of('DENY', true);
  const effectOf = customEffects(customs, authorizers, as);
  const custom = (effect: 'asked' | 'refused') => customs.filter((policy) => effectOf(policy) === effect);
  return {
    deny: indexed(compile(of('DENY', false), 'DENY')),
    allow: allow.length === 0 ? undefined : indexed(compile(allow, 'ALLOW')),
    noAllow: {
      allowed: false,
      reason: 'no-allow-rule',
      as,
      ...(!forTcp && { status: 403 }),
      ...(allow[0] && { rule: ruleRef(allow[0]) }),
    },
    audit: compile(of('AUDIT', false), 'AUDIT'),
    customAsks: compile(custom('asked'), 'CUSTOM'),
    customRefuses: compile(custom('refused'), 'CUSTOM'),
    dryDeny: dryDeny.length === 0 ? undefined : indexed(compile(dryDeny, 'DENY')),
    dryAllow: dryAllow.length === 0 ? undefined : indexed(compile(dryAllow, 'ALLOW')),
  };
}

function decisionOf(action: AuthorizationAction, rule: RuleRef, as: 'http' | 'tcp'): Decision {
  const reasons: Partial<Record<AuthorizationAction, Reason>> = { ALLOW: 'allow-rule', CUSTOM: 'custom-rule' };
  const reason = reasons[action] ?? 'deny-rule';
  const allowed = action === 'ALLOW';
  return { allowed, reason, rule, as, ...(!allowed && as === 'http' && { status: 403 }) };
}

/** Decides by external authorizers. Returns undefined if none applies. */
function decideByAuthorizers(sets: RuleSets, facts: Facts, call: Call, as: 'http' | 'tcp'): Decision | undefined {
  if (sets.customAsks.length === 0 && sets.customRefuses.length === 0) return undefined;
  for (const { test, decision } of sets.customRefuses) if (test(facts)) return decision;
  const asked: { provider: string; rule: RuleRef }[] = [];
  for (const { test, ref, decision, provider = '' } of sets.customAsks) {
    if (!test(facts)) continue;
    if (call.external?.[provider] === false) return { ...decision, external: [{ provider, rule: ref }] };
    asked.push({ provider, rule: ref });
  }
  return asked.length === 0 ? undefined : { ...OPEN[as], external: asked };
}

function decideByTokens(sets: RuleSets, outcome: TokenOutcome, facts: Facts, call: Call, custom?: Decision): Decision {
  if (!outcome.valid)
    return {
      allowed: false,
      reason: 'invalid-token',
      status: outcome.status,
      rule: ruleRef(outcome.rule.policy, outcome.rule.index),
      as: 'http',
    };
  if (outcome !== NONE) {
    facts.claims = outcome.claims;
    facts.headers = outcome.headers;
  }
  return decideByPolicies(sets, facts, call, 'http', custom);
}

function decideByPolicies(sets: RuleSets, facts: Facts, call: Call, as: 'http' | 'tcp', custom?: Decision): Decision {
  // Non-HTTP connections reach the authorizers here. Authorizers that speak only HTTP are skipped.
  const asked = custom ?? (as === 'tcp' ? decideByAuthorizers(sets, facts, call, as) : undefined);
  if (asked && !asked.allowed) return asked;
  const decision = decideByRules(sets, facts, as);
  if (!asked && sets.audit.length === 0 && !sets.dryDeny && !sets.dryAllow) return decision;
  const audited = sets.audit.flatMap(({ test, ref }) => (test(facts) ? [ref] : []));
  const denied = sets.dryDeny && matching(sets.dryDeny, facts)?.ref;
  const allowed = sets.dryAllow && (matching(sets.dryAllow, facts)?.ref ?? ('no-rule' as const));
  const dryRun = { ...(denied && { denied }), ...(allowed && { allowed }) };
  return {
    ...decision,
    ...(audited.length > 0 && { audited }),
    ...(asked?.external && { external: asked.external }),
    ...(Object.keys(dryRun).length > 0 && { dryRun }),
  };
}

function decideByRules(sets: RuleSets, facts: Facts, as: 'http' | 'tcp'): Decision {
  const denied = matching(sets.deny, facts);
  if (denied) return denied.decision;
  if (!sets.allow) return OPEN[as];
  return matching(sets.allow, facts)?.decision ?? sets.noAllow;
}

function matching({ byPrincipal, others }: RuleIndex, facts: Facts): CompiledRule | undefined {
  const named = byPrincipal.get(facts.principal);
  if (named) for (const rule of named) if (rule.test(facts)) return rule;
  for (const rule of others) if (rule.test(facts)) return rule;
  return undefined;
}

/** Rules indexed by their exact principals, because most rules of a mesh concern other callers. */
interface RuleIndex {
  readonly byPrincipal: ReadonlyMap<string, readonly CompiledRule[]>;
  readonly others: readonly CompiledRule[];
}

function indexed(rules: readonly CompiledRule[]): RuleIndex {
  const byPrincipal = new Map<string, CompiledRule[]>();
  for (const rule of rules) {
    for (const principal of new Set(rule.principals ?? [])) {
      byPrincipal.set(principal, [...(byPrincipal.get(principal) ?? []), rule]);
    }
  }
  return { byPrincipal, others: rules.filter(({ principals }) => principals === undefined) };
}
