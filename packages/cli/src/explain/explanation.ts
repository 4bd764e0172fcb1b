/** Result of `meshpass explain`: a verdict, and a finding for each hop. */
import { type Finding, overall } from '../diagnosis/finding.ts';
import type { WantedCall } from './call.ts';

export type Verdict = 'allowed' | 'refused' | 'unknown';
/** A finding about one hop: `ok` means that it allows the call, and `failed` that it refuses the call. */
export type Hop = Finding<'workspace' | 'edge and gateway' | 'workload'>;

export interface Explanation {
  readonly verdict: Verdict;
  readonly call: WantedCall;
  /** Session id, to quote to the platform team. */
  readonly session: string;
  /** Contact for access requests. Absent if the access file does not define one. */
  readonly contact?: string | undefined;
  /** Full name and port of the destination service; absent if unknown. */
  readonly endpoint?: string;
  /** Grant that serves the call. */
  readonly grant?: string;
  readonly hops: readonly Hop[];
  /**
   * Facts that cannot be known in a workspace, and how to find them out. Absent if they would not change the verdict.
   */
  readonly beyond?: string;
}

/** Verdict for each hop state. */
export const VERDICTS = { ok: 'allowed', failed: 'refused', unknown: 'unknown' } as const;

/** Combines the hops into one verdict: refused if any hop refuses the call, otherwise unknown if any hop is unknown. */
export function verdictOf(hops: readonly Hop[]): Verdict {
  return VERDICTS[overall(hops)];
}

/** Builds a finding about a hop. */
export function hop(check: Hop['check'], verdict: Verdict, says: string, place?: string): Hop {
  const state = verdict === 'allowed' ? 'ok' : verdict === 'refused' ? 'failed' : 'unknown';
  return { check, state, says, ...(place !== undefined && { place }) };
}
