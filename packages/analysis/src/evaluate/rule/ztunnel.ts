/** Compiles rules to tests of a connection, in the same way that a ztunnel interprets them. */
import {
  type AuthorizationPolicy,
  type AuthorizationRule,
  actionOf,
  type ZtunnelTest,
  ztunnelRule,
} from '@meshpass/istio';
import type { CallFacts, Test } from '../facts.ts';
import { addressPart, portPart } from './field.ts';
import { textTest } from './text.ts';

/**
 * Compiles a rule to a test of connections.
 * @returns the test, or undefined if the rule cannot match any connection
 */
export function compileZtunnelRule(rule: AuthorizationRule, policy: AuthorizationPolicy): Test | undefined {
  const { clauses } = ztunnelRule(rule, actionOf(policy));
  const tests = clauses?.map((matches) => {
    const alternatives = matches.map((some) => some.map((one) => compileTest(one, policy.metadata.namespace)));
    return (facts: CallFacts) => alternatives.some((match) => match.every((test) => test(facts)));
  });
  return tests && ((facts) => tests.every((test) => test(facts)));
}

function compileTest({ field, values, notValues }: ZtunnelTest, home: string): Test {
  const of = (some: readonly string[]): Test | undefined => (some.length === 0 ? undefined : anyOf(field, some, home));
  const [wanted, unwanted] = [of(values), of(notValues)];
  return (facts) => (wanted?.(facts) ?? true) && !unwanted?.(facts);
}

/** @param home the policy's own namespace, used for ServiceAccounts whose names do not include one */
function anyOf(field: ZtunnelTest['field'], values: readonly string[], home: string): Test {
  switch (field) {
    case 'source.principal': {
      const test = textTest(values);
      return ({ principal }) => principal !== '' && test(principal);
    }
    case 'source.namespace': {
      const test = textTest(values);
      return ({ principal }) => test(idOf(principal).namespace);
    }
    case 'source.serviceAccount': {
      const accounts = new Set(values.map((value) => (value.includes('/') ? value : `${home}/${value}`)));
      return ({ principal }) => {
        const { namespace, account } = idOf(principal);
        return accounts.has(`${namespace}/${account}`);
      };
    }
    case 'source.ip':
      return each(addressPart(values, undefined, ({ sourceIp }) => sourceIp).compile, values);
    case 'destination.ip':
      return each(addressPart(values, undefined, ({ destinationIp }) => destinationIp).compile, values);
    case 'destination.port':
      return each(portPart(values, undefined).compile, values);
  }
}

function each(compile: (values: readonly string[]) => Test | undefined, values: readonly string[]): Test {
  const tests = values.flatMap((value) => compile([value]) ?? []);
  return (facts) => tests.some((test) => test(facts));
}

function idOf(principal: string): { readonly namespace: string; readonly account: string } {
  const [, , namespace = '', , account = ''] = principal.split('/');
  return { namespace, account };
}
