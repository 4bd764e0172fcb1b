/** Explains why a port allows or denies a call, citing the rule that decides and its position in the source. */
import { GRANT_LABEL } from '@meshpass/access/compile';
import { type AuthorizationPolicy, actionOf } from '@meshpass/istio';
import { type Call, meets } from './formula/call.ts';
import type { PortPolicy } from './port-policy.ts';

export interface Decision {
  readonly allowed: boolean;
  /** A human-readable explanation of the decision. */
  readonly reason: string;
  /** The policy that contains the deciding rule, and the index of that rule. Undefined if no rule decides. */
  readonly policy?: AuthorizationPolicy;
  readonly rule?: number;
  /**
   * Whether the decision is up to an external authorizer. If it is, the call is only denied if the authorizer rejects
   * it.
   */
  readonly undecided?: true;
}

/**
 * Explains a decision, evaluating in the same order as Envoy: the connection and the token, then CUSTOM, DENY and
 * ALLOW.
 */
export function explainDecision(portPolicy: PortPolicy, call: Call): Decision {
  if (portPolicy.stages) return explainStages(portPolicy.stages, call);
  const policies = portPolicy.policies();
  const isAllowed = meets(call, portPolicy.allowed);
  const deciding = (action: string) => {
    for (const one of policies) {
      if (actionOf(one.policy) !== action) continue;
      const rule = one.rules.findIndex((condition) => meets(call, condition));
      if (rule >= 0) return { policy: one.policy, rule, refuses: one.refuses };
    }
    return undefined;
  };
  if (isAllowed) {
    const by = deciding('ALLOW');
    if (by) return { allowed: true, reason: `allowed by ${formatRule(by.policy, by.rule)}`, ...by };
    return { allowed: true, reason: `no policy denies it, and no ALLOW policy applies${describeIgnored(portPolicy)}` };
  }
  if (portPolicy.closed !== undefined) return { allowed: false, reason: portPolicy.closed };
  const custom = deciding('CUSTOM');
  if (custom?.refuses)
    return {
      allowed: false,
      reason: `refused by ${formatRule(custom.policy, custom.rule)}, whose authorizer is not consulted`,
      ...custom,
    };
  const denied = deciding('DENY');
  if (denied) return { allowed: false, reason: `denied by ${formatRule(denied.policy, denied.rule)}`, ...denied };
  const allowing = policies.filter(({ policy }) => actionOf(policy) === 'ALLOW');
  if (allowing.length > 0 && !deciding('ALLOW')) {
    const names = allowing.slice(0, 3).map(({ policy }) => formatRule(policy));
    const more = allowing.length > 3 ? ` and ${allowing.length - 3} more` : '';
    return { allowed: false, reason: `no rule of ${names.join(', ')}${more} allows it` };
  }
  if (custom) {
    const reason = `delegated to an authorizer by ${formatRule(custom.policy, custom.rule)}`;
    return { allowed: false, reason, ...custom, undecided: true };
  }
  return { allowed: false, reason: 'its mutual TLS or its token does not meet the requirements of this port' };
}

function describeIgnored({ ignored }: PortPolicy): string {
  const [first, ...others] = ignored?.() ?? [];
  if (!first) return '';
  const more = others.length > 0 ? ` and ${others.length} more` : '';
  return `; the ztunnel ignores ${formatRule(first.policy, first.rule)}${more}`;
}

/** Explains the decision for a call that goes through a waypoint. */
function explainStages([atWaypoint, atPod]: NonNullable<PortPolicy['stages']>, call: Call): Decision {
  const first = explainDecision(atWaypoint, call);
  const second = explainDecision(atPod, call);
  if (!first.allowed || second.allowed) return { ...first, reason: `at the waypoint: ${first.reason}` };
  return { ...second, reason: `at the ztunnel, which sees the waypoint as the caller: ${second.reason}` };
}

/**
 * Formats a rule with its 1-based number, such as `AuthorizationPolicy shop/orders, rule 2 (orders.yaml:12)`. If `rule`
 * is undefined, formats the policy instead.
 */
function formatRule({ kind, metadata, origin }: AuthorizationPolicy, rule?: number): string {
  const { file, line } = rule === undefined ? origin : origin.at(['spec', 'rules', rule]);
  const place = origin.line > 0 ? `${file}:${line}` : grantOf(metadata);
  const name = `${kind} ${metadata.namespace}/${metadata.name}${rule === undefined ? '' : `, rule ${rule + 1}`}`;
  return place === undefined ? name : `${name} (${place})`;
}

/**
 * Returns the grant that a policy was compiled from, such as `grant payments-dev`. Returns undefined for all other
 * policies.
 */
function grantOf({ labels }: AuthorizationPolicy['metadata']): string | undefined {
  const grant = labels?.[GRANT_LABEL];
  return grant === undefined ? undefined : `grant ${grant}`;
}
