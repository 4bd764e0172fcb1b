/** Creates formulas for the connections that a ztunnel allows. */
import {
  type AuthorizationPolicy,
  type AuthorizationRule,
  actionOf,
  isDryRun,
  type MeshSettings,
  trustedPeerDomains,
  type ZtunnelTest,
  ztunnelRule,
} from '@meshpass/istio';
import { ALWAYS, all, any, type Condition, flag, NEVER, not, text } from './formula/condition.ts';
import { parseTextTest } from './formula/text-test.ts';
import { principal, serviceAccountCondition } from './peer-condition.ts';
import { clausesCondition } from './rule-condition.ts';

const PEER = flag('peer');

/** Whether a ztunnel enforces a policy. It ignores policies that only log calls or delegate decisions. */
export function isEnforcedByZtunnel(policy: AuthorizationPolicy): boolean {
  return !isDryRun(policy) && (actionOf(policy) === 'ALLOW' || actionOf(policy) === 'DENY');
}

/**
 * Returns the connections that a ztunnel accepts before it evaluates any policies. They use a certificate from the
 * mesh's own trust domain or, unless the mode is STRICT, plain text.
 */
export function ztunnelPeers(mode: 'PERMISSIVE' | 'STRICT' | 'DISABLE', settings: MeshSettings): Condition {
  const isOurs =
    trustedPeerDomains(settings).length === 1
      ? PEER
      : all([PEER, text('peer.trustDomain', { form: 'exact', text: settings.trustDomain })]);
  if (mode === 'STRICT') return isOurs;
  return isOurs === PEER ? ALWAYS : any([not(PEER), isOurs]);
}

/**
 * Translates a rule in the same way that a ztunnel interprets it.
 * @param port the port of the Pod, or undefined to represent a port that no object mentions
 */
export function ztunnelRuleCondition(
  rule: AuthorizationRule,
  policy: AuthorizationPolicy,
  port: number | undefined,
): Condition {
  const { clauses } = ztunnelRule(rule, actionOf(policy));
  const { namespace } = policy.metadata;
  return clauses
    ? clausesCondition(clauses, ({ field }, value) => valueCondition(field, value, namespace, port))
    : NEVER;
}

function valueCondition(field: ZtunnelTest['field'], value: string, home: string, port: number | undefined): Condition {
  switch (field) {
    case 'source.principal':
      return principal(value, []);
    case 'source.namespace':
      return value === '*' ? PEER : all([PEER, text('peer.namespace', parseTextTest(value))]);
    case 'source.serviceAccount':
      return serviceAccountCondition(value, home);
    case 'destination.port':
      return Number(value) === port ? ALWAYS : NEVER;
    default:
      return { op: 'address', field, range: value };
  }
}
