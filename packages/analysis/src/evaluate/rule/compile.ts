/**
 * One rule of an AuthorizationPolicy, compiled to a test, in the way istiod compiles it to Envoy's RBAC filter: with what
 * it leaves out, and when. Source: `pilot/pkg/security/authz/model` of Istio 1.31.
 */

import {
  type AuthorizationOperation,
  type AuthorizationRule,
  type AuthorizationSource,
  isTemplate,
  withAliases,
} from '@meshpass/istio';
import type { Facts, Test } from '../facts.ts';
import { conditionPart } from './condition.ts';
import { addressPart, ofPeer, type Part, part, portPart, type RuleContext } from './field.ts';
import { templateTest } from './path.ts';
import { namespaceTest, principalTest, serviceAccountTest, trustDomainTest } from './peer.ts';
import { requestPrincipalTest } from './request-principal.ts';
import { textTest } from './text.ts';

/** What a rule that cannot be compiled is in an ALLOW policy: left out, so that less is allowed. */
class LeftOut extends Error {}

/**
 * @returns undefined where the rule is left out of what the proxy gets: an ALLOW with a field that cannot apply, or any
 * with an unknown condition key
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
    // Most rules are about somebody else: who calls is looked at first.
    return both(from, to);
  } catch (thrown) {
    if (thrown instanceof LeftOut) return undefined;
    throw thrown;
  }
}

/** Whom a rule names one by one; undefined where it may be about others, too. */
export function namedPrincipals(
  rule: AuthorizationRule,
  trustDomains: readonly string[],
): readonly string[] | undefined {
  const named = (rule.from ?? []).map(({ source }) => source?.principals ?? []);
  const isExact = (some: readonly string[]) => some.length > 0 && !some.some((one) => one.includes('*'));
  if (named.length === 0 || !named.every(isExact)) return undefined;
  return named.flat().flatMap((one) => withAliases(one, trustDomains));
}

function sourceParts(source: AuthorizationSource | undefined, context: RuleContext): readonly Part[] {
  if (!source) return [];
  const { trustDomains, namespace, forTcp } = context;
  return [
    part(source.principals, source.notPrincipals, (values) => {
      const test = principalTest(values, trustDomains);
      return ({ principal }) => principal !== '' && test(principal);
    }),
    part(source.requestPrincipals, source.notRequestPrincipals, (values) =>
      forTcp ? undefined : requestPrincipalTest(values),
    ),
    part(source.serviceAccounts, source.notServiceAccounts, (values) =>
      ofPeer(values.map((value) => serviceAccountTest(value, namespace))),
    ),
    part(source.trustDomains, source.notTrustDomains, (values) => {
      const test = trustDomainTest(values, trustDomains);
      return ({ principal }) => principal !== '' && test(principal);
    }),
    part(source.namespaces, source.notNamespaces, (values) => ofPeer(values.map(namespaceTest))),
    addressPart(source.remoteIpBlocks, source.notRemoteIpBlocks, ({ remoteIp }) => remoteIp),
    addressPart(source.ipBlocks, source.notIpBlocks, ({ sourceIp }) => sourceIp),
  ];
}

function operationParts(operation: AuthorizationOperation | undefined, context: RuleContext): readonly Part[] {
  if (!operation) return [];
  const httpOnly = (compile: Part['compile']): Part['compile'] => (context.forTcp ? () => undefined : compile);
  return [
    part(
      operation.hosts,
      operation.notHosts,
      httpOnly((values) => {
        const test = textTest(values, { ignoreCase: true, star: 'present' });
        return ({ authority }) => test(authority);
      }),
    ),
    part(
      operation.methods,
      operation.notMethods,
      httpOnly((values) => {
        const test = textTest(values, { star: 'present' });
        return ({ method }) => test(method);
      }),
    ),
    part(operation.paths, operation.notPaths, httpOnly(pathTest)),
    portPart(operation.ports, operation.notPorts),
  ];
}

function pathTest(values: readonly string[]): Test {
  const plain = textTest(values.filter((value) => !isTemplate(value)));
  const templates = values.filter(isTemplate).flatMap((value) => templateTest(value) ?? []);
  if (templates.length === 0) return ({ path }) => plain(path);
  return ({ path }) => plain(path) || templates.some((test) => test(path));
}

/** Any of the alternatives, each with all of the conditions. @returns undefined for what is always true */
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

/** A test for the values, and one for the values that must not be; none for what says nothing. */
function compilePart(one: Part, context: RuleContext): readonly Test[] {
  const wanted = compileValues(one, one.values, context);
  const unwanted = compileValues(one, one.notValues, context);
  return [...(wanted ? [wanted] : []), ...(unwanted ? [(facts: Facts) => !unwanted(facts)] : [])];
}

function compileValues(one: Part, values: Part['values'], { action }: RuleContext): Test | undefined {
  if (!values || values.length === 0) return undefined;
  const groups = one.each ? values.map((value) => [value]) : [values];
  const tests = groups.flatMap((group) => {
    const test = one.compile(group);
    if (test) return [test];
    if (action === 'ALLOW') throw new LeftOut();
    // A DENY loses the field, and so denies more.
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
