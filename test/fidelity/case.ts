/** Case of the fidelity table: a rule as data, a call, and its result as comparable text. */
import type { KubeObject } from '@meshpass/lab';
import type { AnswerTo, Call } from '../callers/calls.ts';

/** The mesh as one of the two sides sees it, and observations that only the lab can make. */
export interface World {
  call<C extends Call>(call: C): Promise<AnswerTo<C>>;
  /** The authorities of the requests with this `x-call-id` that reached this version of echo.shop. */
  seenBy(version: 'v1' | 'v2', callId: string): Promise<readonly string[]>;
  /** Makes one version answer everything with this status; 200 ends it. */
  setMode(version: 'v1' | 'v2', status: number): Promise<void>;
  /** The line with this text that the sidecar of echo.shop has logged. */
  loggedByService(text: string): string | undefined;
  /** Required content of the caller's certificate. */
  readonly principal: RegExp;
}

export interface Case {
  /** The name of the feature, as in Istio's documentation. */
  readonly feature: string;
  /** The rule in a few words. */
  readonly rule: string;
  readonly apply: readonly KubeObject[];
  /** Objects that cancel the rule. Default: `apply` is removed. */
  readonly takeAway?: readonly KubeObject[];
  /** Additional grant that a Codespace, whose scope is its grants, needs once the rule is cancelled. */
  readonly grantWithout?: { readonly service: string; readonly port: number };
  /** Objects that the lab had before. Default: none remain of `takeAway`. */
  readonly restore?: readonly KubeObject[];
  /** Whether its calls affect later ones or take long, so that one right outcome is enough. Default: two in a row. */
  readonly once?: boolean;
  /** Makes the call or calls. @returns the outcome: few words, the same for the same behaviour */
  readonly observe: (world: World) => Promise<string>;
  /** The outcome in a pod while the rule is in force. */
  readonly expected: string;
}

export const ECHO_HOST = 'echo.shop.svc.cluster.local';
export const ECHO_URL = 'http://echo.shop:8080';
