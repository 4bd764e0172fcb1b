import type { AuthorizationPolicy, RequestAuthentication } from '@meshpass/istio';
import type { Condition } from './formula/condition.ts';

/** Policies that apply at one port of one workload. */
export interface PortPolicy {
  /** Equal keys imply equal policies. */
  readonly key: string;
  readonly allowed: Condition;
  /** Enforced policies: CUSTOM, DENY and ALLOW. */
  readonly policies: () => readonly EnforcedPolicy[];
  /** Policies whose token rules the formula was made of. */
  readonly requests?: readonly RequestAuthentication[];
  /**
   * Whether the port disables mutual TLS. Sidecars then call it in plain text, without an identity. Clients that
   * require TLS, such as workspaces, cannot use it.
   */
  readonly plain?: boolean;
  /** Reason why no call is allowed, regardless of policies. */
  readonly closed?: string;
  /** Policies of the waypoint and of the workload behind it, which must both allow a call. */
  readonly stages?: readonly [PortPolicy, PortPolicy];
  /** DENY rules that the ztunnel ignores, because it evaluates none of their fields. */
  readonly ignored?: () => readonly { readonly policy: AuthorizationPolicy; readonly rule: number }[];
  /** Reason why it is not known which calls are allowed. */
  readonly unknown?: string;
}

/** Policy with each rule as a formula, to identify the rule that decides a call. */
interface EnforcedPolicy {
  readonly policy: AuthorizationPolicy;
  readonly rules: readonly Condition[];
  /** Whether this CUSTOM policy refuses every match because its authorizer is not asked. */
  readonly refuses: boolean;
}
