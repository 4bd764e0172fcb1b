/** References to rules in decisions. */
import {
  type AuthorizationPolicy,
  actionOf,
  type Path,
  type PeerAuthentication,
  type RequestAuthentication,
} from '@meshpass/istio';
import type { RuleRef } from '../call.ts';

type Policy = AuthorizationPolicy | RequestAuthentication | PeerAuthentication;

/** Path of a rule, or of a policy as a whole. */
const PATHS: Readonly<Record<Policy['kind'], (rule: number | undefined) => Path>> = {
  AuthorizationPolicy: (rule) => (rule === undefined ? [] : ['spec', 'rules', rule]),
  RequestAuthentication: (rule) => ['spec', 'jwtRules', rule!],
  PeerAuthentication: () => ['spec'],
};

/**
 * Refers to a rule of a policy.
 * @param rule index; absent for the policy as a whole
 */
export function ruleRef(policy: Policy, rule?: number): RuleRef {
  const { kind, metadata, origin } = policy;
  return {
    kind,
    namespace: metadata.namespace,
    name: metadata.name,
    ...(kind === 'AuthorizationPolicy' && { action: actionOf(policy) }),
    ...(rule !== undefined && { rule }),
    place: () => origin.at(PATHS[kind](rule)),
  };
}
