/** Rules as decisions name them. */
import { type AuthorizationPolicy, actionOf, type PeerMode } from '@meshpass/istio';
import type { RuleRef } from '../call.ts';
import type { TokenRule } from '../request-authentication.ts';

/** @param rule its index; absent for the policy as a whole */
export function policyRule(policy: AuthorizationPolicy, rule?: number): RuleRef {
  const { namespace, name } = policy.metadata;
  return {
    ...{ kind: 'AuthorizationPolicy', namespace, name, action: actionOf(policy) },
    ...(rule !== undefined && { rule }),
    place: () => policy.origin.at(rule === undefined ? [] : ['spec', 'rules', rule]),
  };
}

export function tokenRule({ policy, index }: TokenRule): RuleRef {
  const { namespace, name } = policy.metadata;
  const place = () => policy.origin.at(['spec', 'jwtRules', index]);
  return { kind: 'RequestAuthentication', namespace, name, rule: index, place };
}

export function peerRule({ policy }: PeerMode): RuleRef {
  const { namespace, name } = policy!.metadata;
  return { kind: 'PeerAuthentication', namespace, name, place: () => policy!.origin.at(['spec']) };
}
