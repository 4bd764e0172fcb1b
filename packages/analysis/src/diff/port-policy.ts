import type { AuthorizationPolicy, RequestAuthentication } from '@meshpass/istio';
import type { Condition } from './formula/condition.ts';

/** The policies that apply to a single port of a workload. */
export interface PortPolicy {
  /** Identifies the policies: if two keys are equal, so are the policies. */
  readonly key: string;
  readonly allowed: Condition;
  /** Returns the enforced policies with the actions CUSTOM, DENY and ALLOW. */
  readonly policies: () => readonly EnforcedPolicy[];
  /** The RequestAuthentications whose JWT rules are part of the formula. */
  readonly requests?: readonly RequestAuthentication[];
  /**
   * Whether mutual TLS is disabled on the port. If it is, sidecars send calls in plain text and without an identity,
   * and clients that require TLS, such as workspaces, cannot use the port.
   */
  readonly plain?: boolean;
  /** The reason why the port does not allow any call, regardless of the policies. */
  readonly closed?: string;
  /** The policies of the waypoint and those of the workload behind it. A call has to be allowed by both. */
  readonly stages?: readonly [PortPolicy, PortPolicy];
  /** The DENY rules that the ztunnel ignores because it does not evaluate any of the fields that they test. */
  readonly ignored?: () => readonly { readonly policy: AuthorizationPolicy; readonly rule: number }[];
  /** The reason why it is unknown which calls the port allows. */
  readonly unknown?: string;
}

/** A policy whose rules are available as formulas, which are used to find the rule that decides a call. */
interface EnforcedPolicy {
  readonly policy: AuthorizationPolicy;
  readonly rules: readonly Condition[];
  /** Whether this CUSTOM policy rejects every matching call because its authorizer is never called. */
  readonly refuses: boolean;
}
