/** Compiles AuthorizationPolicy rules to tests of single calls. */

import {
  type AuthorizationAction,
  type AuthorizationPolicy,
  type AuthorizationRule,
  actionOf,
  withAliases,
  ztunnelRule,
} from '@meshpass/istio';
import { type Clauses, envoyRule, type RuleTest } from '../../envoy-rule.ts';
import type { CallFacts, Test } from '../facts.ts';
import { compileField, compileZtunnelField } from './field.ts';

interface RuleContext {
  /** The namespace that the policy belongs to. */
  readonly namespace: string;
  readonly action: AuthorizationAction;
  /** Whether the rule applies to connections that are not parsed as HTTP. */
  readonly forTcp: boolean;
  /** The mesh's own trust domain, followed by its aliases. */
  readonly trustDomains: readonly string[];
}

/**
 * Compiles a rule of an Envoy proxy to a test.
 * @returns the test, or undefined if istiod leaves the rule out
 */
export function compileRule(rule: AuthorizationRule, context: RuleContext): Test | undefined {
  const { namespace, action, forTcp, trustDomains } = context;
  const clauses = envoyRule(rule, action, forTcp ? 'tcp' : 'http');
  return clauses && compileClauses(clauses, (test, values) => compileField(test, values, namespace, trustDomains));
}

/**
 * Compiles a rule to a test of connections, in the same way that a ztunnel interprets it.
 * @returns the test, or undefined if the rule cannot match any connection
 */
export function compileZtunnelRule(rule: AuthorizationRule, policy: AuthorizationPolicy): Test | undefined {
  const { clauses } = ztunnelRule(rule, actionOf(policy));
  const { namespace } = policy.metadata;
  return clauses && compileClauses(clauses, ({ field }, values) => compileZtunnelField(field, values, namespace));
}

/** Lists the exact principals that a rule names. Returns undefined if the rule could match other principals. */
export function exactPrincipals(
  rule: AuthorizationRule,
  trustDomains: readonly string[],
): readonly string[] | undefined {
  const named = (rule.from ?? []).map(({ source }) => source?.principals ?? []);
  const isExact = (some: readonly string[]) => some.length > 0 && !some.some((one) => one.includes('*'));
  if (named.length === 0 || !named.every(isExact)) return undefined;
  return named.flat().flatMap((one) => withAliases(one, trustDomains));
}

/** @param compile compiles a list of values to a test that passes if any of them matches */
function compileClauses<T extends Pick<RuleTest, 'values' | 'notValues'>>(
  clauses: Clauses<T>,
  compile: (field: T, values: readonly string[]) => Test,
): Test {
  const compileOne = (field: T): readonly Test[] => {
    const tests = field.values.length > 0 ? [compile(field, field.values)] : [];
    if (field.notValues.length === 0) return tests;
    const unwanted = compile(field, field.notValues);
    return [...tests, (facts: CallFacts) => !unwanted(facts)];
  };
  return all(clauses.map((alternatives) => any(alternatives.map((fields) => all(fields.flatMap(compileOne))))));
}

const ALWAYS: Test = () => true;

function any(tests: readonly Test[]): Test {
  if (tests.includes(ALWAYS)) return ALWAYS;
  if (tests.length === 1) return tests[0]!;
  return (facts) => {
    for (const test of tests) if (test(facts)) return true;
    return false;
  };
}

function all(given: readonly Test[]): Test {
  const tests = given.filter((test) => test !== ALWAYS);
  const [first = ALWAYS, second] = tests;
  if (!second) return first;
  // Most rules have two clauses, and calling both tests directly is faster than a loop.
  if (tests.length === 2) return (facts) => first(facts) && second(facts);
  return (facts) => {
    for (const test of tests) if (!test(facts)) return false;
    return true;
  };
}
