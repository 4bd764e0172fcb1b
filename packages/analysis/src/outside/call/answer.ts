import type { Place } from '@meshpass/istio';
import type { Decision } from '../../evaluate/call.ts';
import type { Verdict } from '../../evaluate/verdict.ts';

/** The decision about a request at one gateway and one of the destinations behind it. */
export interface OutsideAnswer {
  readonly verdict: Verdict;
  /**
   * The part that determines the verdict: the listener (for example if no server listens on the port), its TLS
   * settings, the gateway's policies, its routes, or the workload's policies.
   */
  readonly by: 'listener' | 'tls' | 'gateway' | 'route' | 'workload';
  /**
   * The status that a proxy returns to the client. Undefined if the connection is closed or the workload itself
   * responds.
   */
  readonly status?: number;
  /** A human-readable explanation of the verdict. */
  readonly reason: string;
  /** The line of the object that determines the verdict. */
  readonly place?: Place;
  /** The line of the route that matches the request. */
  readonly route?: Place;
  /** The gateway, as `namespace/name`. */
  readonly gateway?: string;
  /** The host and port that the route forwards the request to. */
  readonly destination?: string;
  /** The workload and its port, as `namespace/name:port`. */
  readonly workload?: string;
  /** Whether the workload is merely assumed to have a sidecar because its Namespace was not read. */
  readonly assumesSidecar?: true;
  /** The decision of the policies, if they determine the verdict. */
  readonly decision?: Decision;
}

export type PartialAnswer = Omit<OutsideAnswer, 'gateway'>;

export function unknownAnswer(
  by: OutsideAnswer['by'],
  reason: string,
  more: Partial<PartialAnswer> = {},
): PartialAnswer {
  return { ...more, verdict: 'unknown', by, reason };
}

export function refusal(
  by: OutsideAnswer['by'],
  reason: string,
  status?: number,
  more: Partial<PartialAnswer> = {},
): PartialAnswer {
  return { ...more, verdict: 'no', by, reason, ...(status !== undefined && { status }) };
}
