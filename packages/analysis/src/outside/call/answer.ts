import type { Place } from '@meshpass/istio';
import type { Decision } from '../../evaluate/call.ts';
import type { Verdict } from '../../evaluate/verdict.ts';

/** Decision about a request at one gateway and one of its destinations. */
export interface OutsideAnswer {
  readonly verdict: Verdict;
  /**
   * The part that determines the verdict: the listener (for example because no server listens), its TLS settings, the
   * gateway's policies, its routes, or the workload's policies.
   */
  readonly by: 'listener' | 'tls' | 'gateway' | 'route' | 'workload';
  /** Status that a proxy returns to the client. Absent if the connection is closed or the workload responds. */
  readonly status?: number;
  /** Human-readable reason. */
  readonly reason: string;
  /** Line of the object that determines the verdict. */
  readonly place?: Place;
  /** Line of the route that the request matches. */
  readonly route?: Place;
  /** `namespace/name` of the gateway. */
  readonly gateway?: string;
  /** Host and port of the route's destination. */
  readonly destination?: string;
  /** `namespace/name:port` of the workload. */
  readonly workload?: string;
  /** Whether the workload is only assumed to have a sidecar because its Namespace was not read. */
  readonly assumesSidecar?: true;
  /** The policies' decision if they determine the verdict. */
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
