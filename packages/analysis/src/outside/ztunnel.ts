/**
 * Policies at a ztunnel, which evaluates connections only, as measured with a real one. An ALLOW rule with a field of
 * HTTP never matches. In a DENY rule, an element (an operation, a source or a condition) with fields of HTTP only makes
 * the whole rule dead; an element that also has other fields keeps those, and widens. AUDIT is ignored. Mutual TLS modes
 * hold as at sidecars.
 */
import {
  type AuthorizationPolicy,
  type AuthorizationRule,
  actionOf,
  type MeshView,
  peerModesOf,
} from '@meshpass/istio';
import { items, record } from '@meshpass/istio/members';
import { ALWAYS, all, any, type Condition, flag, NEVER, not } from '../diff/formula/condition.ts';
import { enforcedIn } from '../exposure/enforced.ts';
import type { EnforcementPoint } from '../exposure/identity.ts';
import { opaque } from './match-condition.ts';

const HTTP_FIELDS =
  /^(?:not)?(?:hosts|methods|paths|requestprincipals|remoteipblocks)$|^request\.|^remote\.ip$|^connection\.sni$|^experimental\./i;

/** Returns the connections that a ztunnel lets through. */
export function ztunnelCondition(mesh: MeshView, { proxy, port }: EnforcementPoint): Condition {
  const { general, ports } = peerModesOf(mesh, { ...proxy, kind: 'sidecar' });
  const { mode } = (port === undefined ? undefined : ports.get(port)) ?? general;
  const enforced = enforcedIn(mesh).gateways.at(proxy, port, 'tcp').policies();
  const ofAction = (action: string) =>
    enforced
      .filter(({ policy }) => actionOf(policy) === action)
      .map(({ policy, rules }) => ruleConditions(policy, rules));
  const allowing = ofAction('ALLOW');
  return all([
    mode === 'STRICT' ? flag('peer') : ALWAYS,
    ofAction('CUSTOM').length > 0 ? opaque(`what a ztunnel makes of a CUSTOM policy at ${proxy.name}`) : ALWAYS,
    not(any(ofAction('DENY'))),
    allowing.length === 0 ? ALWAYS : any(allowing),
  ]);
}

function ruleConditions(policy: AuthorizationPolicy, conditions: readonly Condition[]): Condition {
  const isAllow = actionOf(policy) === 'ALLOW';
  return any(
    (policy.spec.rules ?? []).map((rule, index) => {
      const elements = elementsOf(rule);
      if (!elements.flat().some(isHttp)) return conditions[index] ?? NEVER;
      if (isAllow) return NEVER;
      const isDead = elements.some((fields) => fields.length > 0 && fields.every(isHttp));
      if (!isDead) return conditions[index] ?? NEVER;
      // Not measured: whether an alternative without fields of HTTP keeps the rule alive.
      const alternatives = Math.max(items(rule.from).length, items(rule.to).length);
      return alternatives > 1
        ? all([
            conditions[index] ?? NEVER,
            opaque(`what a ztunnel makes of ${policy.metadata.name}, rule ${index + 1}`),
          ])
        : NEVER;
    }),
  );
}

function isHttp(field: string): boolean {
  return HTTP_FIELDS.test(field);
}

/** Lists the fields of each element of a rule. */
function elementsOf({ from, to, when }: AuthorizationRule): readonly (readonly string[])[] {
  return [
    ...items(from).map(({ source }) => Object.keys(record(source))),
    ...items(to).map(({ operation }) => Object.keys(record(operation))),
    ...items(when).map(({ key }) => [String(key)]),
  ];
}
