/**
 * Translates a single AuthorizationPolicy rule to a formula, in the same way that istiod translates it for Envoy. If
 * the port does not support a value (an HTTP field on a TCP port, or an invalid address), istiod drops an ALLOW rule as
 * a whole. In all other rules, it only drops the value, so that the rule denies more calls. Source: Generate and
 * checkError in Istio's pilot/pkg/security/authz/model.
 */

import {
  type AuthorizationPolicy,
  type AuthorizationRule,
  actionOf,
  SOURCE_FIELDS,
  type TrustDomains,
  trustDomainsOf,
} from '@meshpass/istio';
import { parseCidr } from '../address.ts';
import { type AddressField, ALWAYS, all, any, type Condition, NEVER, not, path, text } from './formula/condition.ts';
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

type Read = (value: string) => Condition | undefined;
/**
 * Represents a key that Istio does not recognize. Istio ignores the whole rule in this case, regardless of the rule's
 * action.
 */
const UNKNOWN = Symbol('unknown key');
const DROPPED = Symbol('rule dropped');

/**
 * Translates a rule to the condition under which it matches a call.
 * @returns the condition, or NEVER if istiod drops the rule
 */
export function ruleCondition(rule: AuthorizationRule, policy: AuthorizationPolicy, place: Place): Condition {
  const tolerant = actionOf(policy) !== 'ALLOW';
  const own = policy.metadata.namespace;
  try {
    const when = (rule.when ?? []).map(({ key = '', values, notValues }) => {
      const read = readKey(key, own, place);
      if (read === UNKNOWN) throw DROPPED;
      return asked(values, notValues, read, tolerant);
    });
    const from = (rule.from ?? []).map(({ source = {} }) =>
      all(SOURCE_FIELDS.map(([yes, no, key]) => asked(source[yes], source[no], known(key, own, place), tolerant))),
    );
    const to = (rule.to ?? []).map(({ operation = {} }) =>
      all(OPERATIONS.map(([yes, no, key]) => asked(operation[yes], operation[no], known(key, own, place), tolerant))),
    );
    return all([from.length > 0 ? any(from) : ALWAYS, to.length > 0 ? any(to) : ALWAYS, ...when]);
  } catch (thrown) {
    if (thrown === DROPPED) return NEVER;
    throw thrown;
  }
}

/** Whether a policy can have a different meaning for different ports. */
export function dependsOnPorts({ spec }: AuthorizationPolicy): boolean {
  return (spec.rules ?? []).some(
    ({ to = [], when = [] }) =>
      when.some(({ key }) => key === 'destination.port') ||
      to.some(({ operation }) => (operation?.ports?.length ?? 0) + (operation?.notPorts?.length ?? 0) > 0),
  );
}

/** Lists the ports that a policy mentions in its rules. */
export function listPolicyPorts({ spec }: AuthorizationPolicy): readonly number[] {
  const values = (spec.rules ?? []).flatMap(({ to = [], when = [] }) => [
    ...to.flatMap(({ operation }) => [...(operation?.ports ?? []), ...(operation?.notPorts ?? [])]),
    ...when.flatMap(({ key, values = [], notValues = [] }) =>
      key === 'destination.port' ? [...values, ...notValues] : [],
    ),
  ]);
  return values.map(Number).filter((port) => Number.isInteger(port));
}

const OPERATIONS = [
  ['hosts', 'notHosts', 'host'],
  ['ports', 'notPorts', 'destination.port'],
  ['methods', 'notMethods', 'method'],
  ['paths', 'notPaths', 'path'],
] as const;

function known(key: string, own: string, place: Place): Read {
  const http = (test: Condition) => (place.protocol === 'http' ? test : undefined);
  switch (key) {
    case 'host':
      return (value) => http(text('host', parseTextTest(value.toLowerCase())));
    case 'method':
      return (value) => http(text('method', parseTextTest(value)));
    case 'path':
      return (value) => http(path(value));
    default:
      return readKey(key, own, place) as Read;
  }
}

/** Interprets a key of `when` (see Istio's "Authorization Policy Conditions"). */
function readKey(key: string, own: string, place: Place): Read | typeof UNKNOWN {
  const { trust } = place;
  const ofPeer = (test: (value: string) => Condition) => (place.plain ? () => NEVER : test);
  const ofToken = (test: Condition) => (place.protocol === 'http' ? all([place.accepted, test]) : undefined);
  switch (key) {
    case 'source.principal':
      return ofPeer((value) => principal(value, trustDomainsOf(trust)));
    case 'source.namespace':
      return ofPeer(namespace);
    case 'source.serviceAccount':
      return ofPeer((value) => serviceAccountCondition(value, own));
    case 'source.trustDomain':
      return ofPeer((value) => trustDomains(value, trust));
    case 'source.ip':
    case 'remote.ip':
    case 'destination.ip':
      return (value) => address(key, value);
    case 'destination.port':
      return (value) => (/^\d{1,5}$/.test(value) ? (Number(value) === place.port ? ALWAYS : NEVER) : undefined);
    case 'connection.sni':
      return ofPeer((value) => text('connection.sni', parseTextTest(value)));
    case 'request.auth.principal':
      return (value) => ofToken(requestPrincipal(value));
    case 'request.auth.audiences':
      return (value) => ofToken(claimCondition(['aud'], value));
    case 'request.auth.presenter':
      return (value) => ofToken(claimCondition(['azp'], value));
  }
  if (key.startsWith('request.headers')) {
    const name = /^request\.headers\[(.+)\]$/.exec(key)?.[1];
    const test = (value: string): TextTest => (value === '*' ? ANY_TEXT : parseTextTest(value));
    if (name === undefined) return () => undefined;
    return (value) => (place.protocol === 'http' ? text(`header:${name.toLowerCase()}`, test(value)) : undefined);
  }
  if (key.startsWith('request.auth.claims')) {
    const inside = /^request\.auth\.claims\[(.+)\]$/.exec(key)?.[1];
    return (value) => (inside === undefined ? undefined : ofToken(claimCondition(inside.split(']['), value)));
  }
  if (key.startsWith('experimental.envoy.filters.'))
    return (value) => text(`metadata:${key}`, { form: 'exact', text: value });
  return UNKNOWN;
}

/** Matches any value, because a header can be present but empty. */
const ANY_TEXT: TextTest = { form: 'prefix', text: '' };

function address(field: AddressField, range: string): Condition | undefined {
  return parseCidr(range) ? { op: 'address', field, range } : undefined;
}

function asked(
  values: readonly string[] | undefined,
  notValues: readonly string[] | undefined,
  read: Read,
  tolerant: boolean,
): Condition {
  const readAll = (given: readonly string[] = []): Condition[] =>
    given.flatMap((value) => {
      const condition = read(value);
      if (condition) return [condition];
      if (!tolerant) throw DROPPED;
      return [];
    });
  const [yes, no] = [readAll(values), readAll(notValues)];
  return all([yes.length > 0 ? any(yes) : ALWAYS, no.length > 0 ? not(any(no)) : ALWAYS]);
}
