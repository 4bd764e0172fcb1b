import type { Place } from '@meshpass/istio';
import type { Decision } from '../../evaluate/call.ts';
import type { Verdict } from '../../evaluate/verdict.ts';

/** Decision about a request at one gateway, and at one of its destinations. */
export interface OutsideAnswer {
  readonly verdict: Verdict;
  /**
   * Part that decides: no server listens, its TLS settings, policies of the gateway, its routes, or policies of the
   * workload.
   */
  readonly by: 'listener' | 'tls' | 'gateway' | 'route' | 'workload';
  /** Status that the client gets from a proxy; absent if the connection ends, or the workload answers. */
  readonly status?: number;
  /** In words. */
  readonly reason: string;
  /** Line of the object that decides. */
  readonly place?: Place;
  /** Line of the route that the request takes. */
  readonly route?: Place;
  /** `namespace/name` of the gateway. */
  readonly gateway?: string;
  /** Host and port to which the route leads. */
  readonly destination?: string;
  /** `namespace/name:port` of the workload. */
  readonly workload?: string;
  /** Whether the workload's sidecar is only assumed, because its Namespace was not read. */
  readonly assumesSidecar?: true;
  /** Decision of the policies, if they decide. */
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
