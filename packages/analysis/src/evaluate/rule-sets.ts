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
import { compileRule, compileZtunnelRule, exactPrincipals } from './rule/compile.ts';
import { ruleRef } from './rule/refs.ts';

interface CompiledRule {
  readonly ref: RuleRef;
  readonly test: Test;
  /** The decision to return if the rule matches. It is created in advance. */
  readonly decision: Decision;
  readonly provider?: string;
  /** The only principals that the rule can match. If undefined, the rule may match any caller. */
  readonly principals?: readonly string[];
}

/** The compiled rules of a proxy for one protocol. */
export interface RuleSets {
  /** Decides a call by consulting the external authorizers that apply to it. Returns undefined if none of them apply. */
  readonly decideByAuthorizers: (facts: CallFacts, call: Call) => Decision | undefined;
  /**
   * Decides a call based on the DENY and ALLOW rules.
   * @param custom the decision of the external authorizers about a request
   */
  readonly decideByPolicies: (facts: CallFacts, call: Call, custom?: Decision) => Decision;
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
  const compile = (some: readonly AuthorizationPolicy[]): readonly CompiledRule[] =>
    some.flatMap((policy) =>
      (policy.spec.rules ?? []).flatMap((rule, index) => {
        const compiled = compileOne(policy, rule);
        if (!compiled) return [];
        const { test, principals } = compiled;
        const ref = ruleRef(policy, index);
        const provider = actionOf(policy) === 'CUSTOM' ? providerOf(policy) : undefined;
        const decision = decisionOf(actionOf(policy), ref, as);
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
  const effectOf = customEffects(customs, authorizers, as);
  const [asked, refused] = (['asked', 'refused'] as const).map((effect) =>
    compile(customs.filter((policy) => effectOf(policy) === effect)),
  ) as [readonly CompiledRule[], readonly CompiledRule[]];
  const denyRules = indexed(compile(of('DENY', false)));
  const allowRules = indexed(compile(allow));
  const auditRules = compile(of('AUDIT', false));
  const [dryDeny, dryAllow] = [of('DENY', true), of('ALLOW', true)].map((some) =>
    some.length === 0 ? undefined : indexed(compile(some)),
  );
  const open: Decision = { allowed: true, reason: 'open', as };
  const noAllow: Decision = {
    allowed: false,
    reason: 'no-allow-rule',
    as,
    ...(as === 'http' && { status: 403 }),
    ...(allow[0] && { rule: ruleRef(allow[0]) }),
  };

  const decideByAuthorizers: RuleSets['decideByAuthorizers'] = (facts, call) => {
    if (customs.length === 0) return undefined;
    const matches = ({ test }: CompiledRule) => test(facts);
    const refusing = refused.find(matches);
    if (refusing) return refusing.decision;
    const consulted = asked
      .filter(matches)
      .map(({ provider = '', ref, decision }) => ({ decision, external: { provider, rule: ref } }));
    const rejecting = consulted.find(({ external: { provider } }) => call.external?.[provider] === false);
    if (rejecting) return { ...rejecting.decision, external: [rejecting.external] };
    return consulted.length === 0 ? undefined : { ...open, external: consulted.map(({ external }) => external) };
  };

  const decideByRules = (facts: CallFacts): Decision => {
    const denied = matching(denyRules, facts);
    if (denied) return denied.decision;
    if (allow.length === 0) return open;
    return matching(allowRules, facts)?.decision ?? noAllow;
  };

  const loggedBy = (facts: CallFacts): Pick<Decision, 'audited' | 'dryRun'> => {
    const audited = auditRules.flatMap(({ test, ref }) => (test(facts) ? [ref] : []));
    const denied = dryDeny && matching(dryDeny, facts)?.ref;
    const allowed = dryAllow && (matching(dryAllow, facts)?.ref ?? ('no-rule' as const));
    const dryRun = { ...(denied && { denied }), ...(allowed && { allowed }) };
    return { ...(audited.length > 0 && { audited }), ...((denied ?? allowed) && { dryRun }) };
  };
  const isLogged = auditRules.length > 0 || dryDeny !== undefined || dryAllow !== undefined;

  const decideByPolicies: RuleSets['decideByPolicies'] = (facts, call, custom) => {
    // For connections that do not use HTTP, external authorizers are called at this point. Those that only support HTTP
    // are skipped.
    const asked = custom ?? (as === 'tcp' ? decideByAuthorizers(facts, call) : undefined);
    if (asked && !asked.allowed) return asked;
    const decision = decideByRules(facts);
    if (!asked && !isLogged) return decision;
    return { ...decision, ...loggedBy(facts), ...(asked?.external && { external: asked.external }) };
  };
  return { decideByAuthorizers, decideByPolicies };
}

function decisionOf(action: AuthorizationAction, rule: RuleRef, as: 'http' | 'tcp'): Decision {
  const reasons: Partial<Record<AuthorizationAction, Reason>> = { ALLOW: 'allow-rule', CUSTOM: 'custom-rule' };
  const reason = reasons[action] ?? 'deny-rule';
  const allowed = action === 'ALLOW';
  return { allowed, reason, rule, as, ...(!allowed && as === 'http' && { status: 403 }) };
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
