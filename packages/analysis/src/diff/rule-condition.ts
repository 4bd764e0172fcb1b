/** Translates AuthorizationPolicy rules to formulas. */

import {
  type AuthorizationPolicy,
  type AuthorizationRule,
  actionOf,
  type TrustDomains,
  trustDomainsOf,
} from '@meshpass/istio';
import { type Clauses, envoyRule, type RuleTest, testsOfRule } from '../envoy-rule.ts';
import { ALWAYS, all, any, type Condition, NEVER, not, path, text } from './formula/condition.ts';
import { parseTextTest, type TextTest } from './formula/text-test.ts';
import { namespace, principal, serviceAccountCondition, trustDomains } from './peer-condition.ts';
import { claimCondition, requestPrincipal } from './token-condition.ts';

/** The context that a rule is enforced in. */
export interface Place {
  readonly protocol: 'http' | 'tcp';
  /** The port of the Pod. Undefined represents a port that no object mentions. */
  readonly port: number | undefined;
  readonly trust: TrustDomains;
  /** The condition under which the workload accepts a token. */
  readonly accepted: Condition;
  /** Whether mutual TLS is disabled. If it is, rules see neither a peer nor a server name. */
  readonly plain: boolean;
}

/**
 * Translates a rule to the condition under which it matches a call to an Envoy proxy.
 * @returns the condition, or NEVER if istiod drops the rule
 */
export function ruleCondition(rule: AuthorizationRule, policy: AuthorizationPolicy, place: Place): Condition {
  const clauses = envoyRule(rule, actionOf(policy), place.protocol);
  const home = policy.metadata.namespace;
  return clauses ? clausesCondition(clauses, (test, value) => valueCondition(test, value, home, place)) : NEVER;
}

/**
 * Combines the tests of a rule.
 * @param of returns the condition for a single value of a test
 */
export function clausesCondition<Test extends Pick<RuleTest, 'values' | 'notValues'>>(
  clauses: Clauses<Test>,
  of: (test: Test, value: string) => Condition,
): Condition {
  const testCondition = (test: Test): Condition => {
    const [yes, no] = [test.values, test.notValues].map((values) => any(values.map((value) => of(test, value))));
    return all([test.values.length > 0 ? yes! : ALWAYS, not(no!)]);
  };
  return all(clauses.map((alternatives) => any(alternatives.map((tests) => all(tests.map(testCondition))))));
}

/** Lists the ports that a policy mentions in its rules. */
export function listPolicyPorts({ spec }: AuthorizationPolicy): readonly number[] {
  return (spec.rules ?? [])
    .flatMap(testsOfRule)
    .flatMap(({ field, values, notValues }) =>
      field === 'destination.port' ? [...values, ...notValues].map(Number) : [],
    );
}

/** @param home the policy's own namespace, used for ServiceAccounts whose names do not include one */
function valueCondition({ field, path: steps }: RuleTest, value: string, home: string, place: Place): Condition {
  const ofPeer = (condition: Condition) => (place.plain ? NEVER : condition);
  switch (field) {
    case 'source.principal':
      return ofPeer(principal(value, trustDomainsOf(place.trust)));
    case 'source.namespace':
      return ofPeer(namespace(value));
    case 'source.serviceAccount':
      return ofPeer(serviceAccountCondition(value, home));
    case 'source.trustDomain':
      return ofPeer(trustDomains(value, place.trust));
    case 'source.ip':
    case 'remote.ip':
    case 'destination.ip':
      return { op: 'address', field, range: value };
    case 'destination.port':
      return Number(value) === place.port ? ALWAYS : NEVER;
    case 'connection.sni':
      return ofPeer(text('connection.sni', parseTextTest(value)));
    case 'host':
      return text('host', parseTextTest(value.toLowerCase()));
    case 'method':
      return text('method', parseTextTest(value));
    case 'path':
      return path(value);
    case 'request.headers':
      // No header has an empty name.
      return steps[0] === '' ? NEVER : text(`header:${steps[0]!}`, value === '*' ? ANY_TEXT : parseTextTest(value));
    case 'request.auth.principal':
      return all([place.accepted, requestPrincipal(value)]);
    case 'request.auth.claims':
      return all([place.accepted, claimCondition(steps, value)]);
    case 'metadata':
      return text(`metadata:experimental.${steps[0]!}[${steps[1]!}]`, { form: 'exact', text: value });
  }
}

/** Matches any value, because a header can be present but empty. */
const ANY_TEXT: TextTest = { form: 'prefix', text: '' };
