/** Compiles the rules in a proxy's policies, and uses them to decide calls. */

import {
  type AuthorizationAction,
  type AuthorizationPolicy,
  actionOf,
  customEffects,
  isDryRun,
  type MeshConfig,
  providerOf,
} from '@meshpass/istio';
import { isEnforcedByZtunnel } from '../diff/ztunnel-condition.ts';
import type { Call, Decision, Reason, RuleRef } from './call.ts';
import type { CallFacts, Test } from './facts.ts';
import { NONE, type TokenOutcome } from './request-authentication.ts';
import { compileRule, compileZtunnelRule, exactPrincipals } from './rule/compile.ts';
import { ruleRef } from './rule/refs.ts';

const OPEN = {
  http: { allowed: true, reason: 'open', as: 'http' },
  tcp: { allowed: true, reason: 'open', as: 'tcp' },
} as const;

interface CompiledRule {
  readonly ref: RuleRef;
  readonly test: Test;
  /** The decision to return if the rule matches. It is created in advance. */
  readonly decision: Decision;
  readonly provider?: string;
  /** The only principals that the rule can match. If undefined, the rule may match any caller. */
  readonly principals?: readonly string[];
}

export interface RuleSets {
  readonly deny: RuleIndex;
  /** The ALLOW rules. Undefined if no ALLOW policy is enforced. */
  readonly allow: RuleIndex | undefined;
  readonly noAllow: Decision;
  readonly audit: readonly CompiledRule[];
  /** The CUSTOM rules for which the proxy calls an external authorizer. */
  readonly customAsks: readonly CompiledRule[];
  /** The CUSTOM rules for which the proxy rejects the call without calling an authorizer. */
  readonly customRefuses: readonly CompiledRule[];
  readonly dryDeny: RuleIndex | undefined;
  readonly dryAllow: RuleIndex | undefined;
}

/** Compiles a single rule. Returns undefined if the rule cannot match any call. */
type Compile = (
  policy: AuthorizationPolicy,
  rule: NonNullable<AuthorizationPolicy['spec']['rules']>[number],
) => { readonly test: Test; readonly principals: readonly string[] | undefined } | undefined;

/**
 * Compiles the policies that an Envoy proxy enforces.
 * @param forTcp whether to compile the rules for connections that are not parsed as HTTP
 */
export function compileEnvoyRules(
  policies: readonly AuthorizationPolicy[],
  forTcp: boolean,
  trustDomains: readonly string[],
  config: Pick<MeshConfig, 'authorizers' | 'isRead'>,
): RuleSets {
  const compile: Compile = (policy, rule) => {
    const context = { namespace: policy.metadata.namespace, action: actionOf(policy), forTcp, trustDomains };
    const test = compileRule(rule, context);
    return test && { test, principals: exactPrincipals(rule, trustDomains) };
  };
  return ruleSets(policies, forTcp ? 'tcp' : 'http', compile, config);
}

/**
 * Compiles the policies that a ztunnel enforces. It ignores policies that only log calls or delegate decisions, and
 * compares principals exactly as written.
 */
export function compileZtunnelRules(policies: readonly AuthorizationPolicy[]): RuleSets {
  const compile: Compile = (policy, rule) => {
    const test = compileZtunnelRule(rule, policy);
    return test && { test, principals: exactPrincipals(rule, []) };
  };
  return ruleSets(policies.filter(isEnforcedByZtunnel), 'tcp', compile, { authorizers: [], isRead: true });
}

function ruleSets(
  policies: readonly AuthorizationPolicy[],
  as: 'http' | 'tcp',
  compileOne: Compile,
  { authorizers, isRead }: Pick<MeshConfig, 'authorizers' | 'isRead'>,
): RuleSets {
  const customs = policies.filter((policy) => actionOf(policy) === 'CUSTOM');
  const several = new Set(customs.map(providerOf)).size > 1;
  /**
   * Whether a provider may be defined in a mesh configuration that was not read. The proxy would then call its
   * authorizer.
   */
  const mayBeKnown = (provider: string | undefined): boolean =>
    provider !== undefined && !isRead && !several && !authorizers.some(({ name }) => name === provider);
  const of = (action: AuthorizationAction, dry: boolean) =>
    policies.filter((policy) => actionOf(policy) === action && isDryRun(policy) === dry);
  const compile = (some: readonly AuthorizationPolicy[], action: AuthorizationAction): readonly CompiledRule[] =>
    some.flatMap((policy) =>
      (policy.spec.rules ?? []).flatMap((rule, index) => {
        const compiled = compileOne(policy, rule);
        if (!compiled) return [];
        const { test, principals } = compiled;
        const ref = ruleRef(policy, index);
        const provider = action === 'CUSTOM' ? providerOf(policy) : undefined;
        const decision = decisionOf(action, ref, as);
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
      ...(as === 'http' && { status: 403 }),
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

/** Decides a call by consulting the external authorizers that apply to it. Returns undefined if none of them apply. */
export function decideByAuthorizers(
  sets: RuleSets,
  facts: CallFacts,
  call: Call,
  as: 'http' | 'tcp',
): Decision | undefined {
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

/** Decides a request whose tokens have been checked. */
export function decideByTokens(
  sets: RuleSets,
  outcome: TokenOutcome,
  facts: CallFacts,
  call: Call,
  custom?: Decision,
): Decision {
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

/** Decides a call based on the DENY and ALLOW rules. */
export function decideByPolicies(
  sets: RuleSets,
  facts: CallFacts,
  call: Call,
  as: 'http' | 'tcp',
  custom?: Decision,
): Decision {
  // For connections that do not use HTTP, external authorizers are called at this point. Those that only support HTTP
  // are skipped.
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

function decideByRules(sets: RuleSets, facts: CallFacts, as: 'http' | 'tcp'): Decision {
  const denied = matching(sets.deny, facts);
  if (denied) return denied.decision;
  if (!sets.allow) return OPEN[as];
  return matching(sets.allow, facts)?.decision ?? sets.noAllow;
}

function matching({ byPrincipal, others }: RuleIndex, facts: CallFacts): CompiledRule | undefined {
  const named = byPrincipal.get(facts.principal);
  if (named) for (const rule of named) if (rule.test(facts)) return rule;
  for (const rule of others) if (rule.test(facts)) return rule;
  return undefined;
}

/**
 * Indexes rules by the exact principals that they match, because most rules in a mesh are not about the current caller.
 */
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
