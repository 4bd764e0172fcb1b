import type { AuthorizationPolicy, RequestAuthentication } from '@meshpass/istio';
import type { Condition } from './formula/condition.ts';

/** Policies that apply to a single port of a workload. */
export interface PortPolicy {
  /** Equal keys imply equal policies. */
  readonly key: string;
  readonly allowed: Condition;
  /** Enforced policies with the actions CUSTOM, DENY and ALLOW. */
  readonly policies: () => readonly EnforcedPolicy[];
  /** RequestAuthentications whose JWT rules are part of the formula. */
  readonly requests?: readonly RequestAuthentication[];
  /**
   * Whether the port disables mutual TLS. If so, sidecars call it in plain text without an identity, and clients that
   * require TLS, such as workspaces, cannot use it.
   */
  readonly plain?: boolean;
  /** Reason why no call is allowed, regardless of the policies. */
  readonly closed?: string;
  /** Policies of the waypoint and of the workload behind it. Both must allow a call. */
  readonly stages?: readonly [PortPolicy, PortPolicy];
  /** DENY rules that the ztunnel ignores, because it does not evaluate any of their fields. */
  readonly ignored?: () => readonly { readonly policy: AuthorizationPolicy; readonly rule: number }[];
  /** Reason why it is unknown which calls are allowed. */
  readonly unknown?: string;
}

/** Policy whose rules are available as formulas, to identify the rule that decides a call. */
interface EnforcedPolicy {
  readonly policy: AuthorizationPolicy;
  readonly rules: readonly Condition[];
  /** Whether this CUSTOM policy refuses every matching call because its authorizer is not called. */
  readonly refuses: boolean;
}
