/** Creates the references to rules that appear in decisions. */
import {
  type AuthorizationPolicy,
  actionOf,
  type Path,
  type PeerAuthentication,
  type RequestAuthentication,
} from '@meshpass/istio';
import type { RuleRef } from '../call.ts';

type Policy = AuthorizationPolicy | RequestAuthentication | PeerAuthentication;

/** Returns the path of a rule within its policy, or the path of the policy as a whole. */
const PATHS: Readonly<Record<Policy['kind'], (rule: number | undefined) => Path>> = {
  AuthorizationPolicy: (rule) => (rule === undefined ? [] : ['spec', 'rules', rule]),
  RequestAuthentication: (rule) => ['spec', 'jwtRules', rule!],
  PeerAuthentication: () => ['spec'],
};

/**
 * Creates a reference to a rule in a policy.
 * @param rule the index of the rule, or undefined to refer to the policy as a whole
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
