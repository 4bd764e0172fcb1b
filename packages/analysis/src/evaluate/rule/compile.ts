/**
 * Compiles an AuthorizationPolicy rule to a test. It leaves out the same fields and rules as istiod does when it
 * compiles a rule for Envoy's RBAC filter. Source: `pilot/pkg/security/authz/model` of Istio 1.31.
 */

import {
  type AuthorizationOperation,
  type AuthorizationRule,
  type AuthorizationSource,
  isTemplate,
  SOURCE_FIELDS,
  withAliases,
} from '@meshpass/istio';
import type { CallFacts, Test } from '../facts.ts';
import { conditionPart } from './condition.ts';
import { type Part, part, portPart, type RuleContext } from './field.ts';
import { templateTest } from './path.ts';
import { textTest } from './text.ts';

/** Thrown if an ALLOW rule cannot be compiled. Leaving out such a rule only allows fewer calls. */
class LeftOut extends Error {}

/**
 * Compiles a rule to a test.
 * @returns the test, or undefined if istiod leaves the rule out; it does so for an ALLOW rule with a field that cannot
 *   apply, and for any rule with an unknown condition key
 */
export function compileRule(rule: AuthorizationRule, context: RuleContext): Test | undefined {
  const parts = (rule.when ?? []).map((condition) => conditionPart(condition, context));
  if (parts.includes(undefined)) return undefined;
  const conditions = parts as readonly { readonly side: 'peer' | 'call'; readonly part: Part }[];
  const side = (wanted: 'peer' | 'call') => conditions.filter((one) => one.side === wanted).map(({ part }) => part);
  try {
    const from = alternatives(
      rule.from?.map(({ source }) => sourceParts(source, context)),
      side('peer'),
      context,
    );
    const to = alternatives(
      rule.to?.map(({ operation }) => operationParts(operation, context)),
      side('call'),
      context,
    );
    // The caller is tested first, because most rules are not about the current caller.
    return both(from, to);
  } catch (thrown) {
    if (thrown instanceof LeftOut) return undefined;
    throw thrown;
  }
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

function sourceParts(source: AuthorizationSource = {}, context: RuleContext): readonly Part[] {
  return SOURCE_FIELDS.map(
    ([values, notValues, key]) =>
      conditionPart({ key, values: source[values], notValues: source[notValues] }, context)!.part,
  );
}

function operationParts(operation: AuthorizationOperation | undefined, context: RuleContext): readonly Part[] {
  if (!operation) return [];
  const { hosts, notHosts, methods, notMethods, paths, notPaths, ports, notPorts } = operation;
  const http = (values: Part['values'], notValues: Part['values'], compile: Part['compile']): Part =>
    part(values, notValues, context.forTcp ? () => undefined : compile);
  return [
    http(hosts, notHosts, (values) => {
      const test = textTest(values, { ignoreCase: true, star: 'present' });
      return ({ authority }) => test(authority);
    }),
    http(methods, notMethods, (values) => {
      const test = textTest(values, { star: 'present' });
      return ({ method }) => test(method);
    }),
    http(paths, notPaths, pathTest),
    portPart(ports, notPorts),
  ];
}

function pathTest(values: readonly string[]): Test {
  const plain = textTest(values.filter((value) => !isTemplate(value)));
  const templates = values.filter(isTemplate).flatMap((value) => templateTest(value) ?? []);
  if (templates.length === 0) return ({ path }) => plain(path);
  return ({ path }) => plain(path) || templates.some((test) => test(path));
}

/**
 * Compiles a list of alternatives, combining each of them with all conditions.
 * @returns the test, or undefined if the rule always matches
 */
function alternatives(
  listed: readonly (readonly Part[])[] | undefined,
  conditions: readonly Part[],
  context: RuleContext,
): Test | undefined {
  const tests = (listed && listed.length > 0 ? listed : [[]]).map((parts) =>
    all([...parts, ...conditions].flatMap((one) => compilePart(one, context))),
  );
  if (tests.includes(undefined)) return undefined;
  return any(tests as Test[]);
}

/**
 * Compiles a field to one test for its values and one for its excluded values. No test is created for an empty list.
 */
function compilePart(one: Part, context: RuleContext): readonly Test[] {
  const wanted = compileValues(one, one.values, context);
  const unwanted = compileValues(one, one.notValues, context);
  return [...(wanted ? [wanted] : []), ...(unwanted ? [(facts: CallFacts) => !unwanted(facts)] : [])];
}

function compileValues(one: Part, values: Part['values'], { action }: RuleContext): Test | undefined {
  if (!values || values.length === 0) return undefined;
  const groups = one.each ? values.map((value) => [value]) : [values];
  const tests = groups.flatMap((group) => {
    const test = one.compile(group);
    if (test) return [test];
    if (action === 'ALLOW') throw new LeftOut();
    // Ignoring the value makes a DENY rule match more calls.
    return [];
  });
  return tests.length === 0 ? undefined : any(tests);
}

function any(tests: readonly Test[]): Test {
  if (tests.length === 1) return tests[0]!;
  return (facts) => {
    for (const test of tests) if (test(facts)) return true;
    return false;
  };
}

function all(tests: readonly Test[]): Test | undefined {
  if (tests.length <= 1) return tests[0];
  return (facts) => {
    for (const test of tests) if (!test(facts)) return false;
    return true;
  };
}

function both(a: Test | undefined, b: Test | undefined): Test {
  if (!a) return b ?? (() => true);
  return b ? (facts) => a(facts) && b(facts) : a;
}
