/** Why a call is let in or not, at one port: by which rule, and where that is written. */
import { SOURCE_ANNOTATION } from '@meshpass/access/compile';
import { type AuthorizationPolicy, actionOf } from '@meshpass/istio';
import { type Call, meets } from './formula/call.ts';
import type { PortPolicy } from './policy-index.ts';

export interface Decision {
  readonly allowed: boolean;
  /** For people. */
  readonly reason: string;
  /** The policy whose rule decides, with the number of the rule; absent where no rule does. */
  readonly policy?: AuthorizationPolicy;
  readonly rule?: number;
  /** Refused only where the external authorizer that is asked does not agree. */
  readonly undecided?: true;
}

/** In Envoy's order: connection and token, CUSTOM, DENY, ALLOW. */
export function explainDecision(portPolicy: PortPolicy, call: Call): Decision {
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
    return { allowed: true, reason: 'no policy denies it, and no ALLOW policy is there' };
  }
  if (portPolicy.closed !== undefined) return { allowed: false, reason: portPolicy.closed };
  const custom = deciding('CUSTOM');
  if (custom?.refuses) {
    const { policy, rule } = custom;
    return {
      allowed: false,
      reason: `refused by ${formatRule(policy, rule)}, whose authorizer is not asked`,
      policy,
      rule,
    };
  }
  const denied = deciding('DENY');
  if (denied) return { allowed: false, reason: `denied by ${formatRule(denied.policy, denied.rule)}`, ...denied };
  const allowing = policies.filter(({ policy }) => actionOf(policy) === 'ALLOW');
  if (allowing.length > 0 && !deciding('ALLOW')) {
    const names = allowing.slice(0, 3).map(({ policy }) => formatPolicy(policy));
    const more = allowing.length > 3 ? ` and ${allowing.length - 3} more` : '';
    return { allowed: false, reason: `no rule of ${names.join(', ')}${more} allows it` };
  }
  if (custom) {
    const { policy, rule } = custom;
    const reason = `left to an authorizer by ${formatRule(policy, rule)}`;
    return { allowed: false, reason, policy, rule, undecided: true };
  }
  return { allowed: false, reason: 'mutual TLS or the token on it is not what this port asks for' };
}

/** `AuthorizationPolicy shop/orders (orders.yaml:3)`. */
export function formatPolicy({ kind, metadata, origin }: AuthorizationPolicy): string {
  const place = origin.line > 0 ? `${origin.file}:${origin.line}` : metadata.annotations?.[SOURCE_ANNOTATION];
  return `${kind} ${metadata.namespace}/${metadata.name}${place === undefined ? '' : ` (${place})`}`;
}

/** `AuthorizationPolicy shop/orders, rule 2 (orders.yaml:12)`, counted from 1. */
export function formatRule(policy: AuthorizationPolicy, rule: number): string {
  const { kind, metadata, origin } = policy;
  const written = origin.line > 0 ? origin.at(['spec', 'rules', rule]) : undefined;
  const place = written ? `${written.file}:${written.line}` : metadata.annotations?.[SOURCE_ANNOTATION];
  return `${kind} ${metadata.namespace}/${metadata.name}, rule ${rule + 1}${place === undefined ? '' : ` (${place})`}`;
}
