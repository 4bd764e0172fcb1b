/** Defines the result of `meshpass explain`: a verdict, and a finding for each hop. */
import { type Finding, overall } from '../diagnosis/finding.ts';
import type { WantedCall } from './call.ts';

export type Verdict = 'allowed' | 'refused' | 'unknown';
/**
 * A finding about a single hop. The state `ok` means that the hop allows the call, and `failed` that it refuses the
 * call.
 */
export type Hop = Finding & { readonly check: 'workspace' | 'edge and gateway' | 'workload' };

export interface Explanation {
  readonly verdict: Verdict;
  readonly call: WantedCall;
  /** The session ID, which users can give to the platform team. */
  readonly session: string;
  /** The contact for access requests. Absent if the access file does not define one. */
  readonly contact?: string | undefined;
  /** The full name and port of the destination service. Absent if they are unknown. */
  readonly endpoint?: string;
  /** The grant that serves the call. */
  readonly grant?: string;
  readonly hops: readonly Hop[];
  /**
   * Describes what cannot be determined in a workspace, and how to find out. Absent if it would not change the verdict.
   */
  readonly beyond?: string;
}

/** Maps the states of hops to verdicts. */
export const VERDICTS = { ok: 'allowed', failed: 'refused', unknown: 'unknown' } as const;

/**
 * Combines the hops into a single verdict: refused if any hop refuses the call, otherwise unknown if any hop is
 * unknown, and otherwise allowed.
 */
export function verdictOf(hops: readonly Hop[]): Verdict {
  return VERDICTS[overall(hops)];
}

/** Builds a finding about a hop. */
export function hop(check: Hop['check'], verdict: Verdict, says: string, place?: string): Hop {
  const state = verdict === 'allowed' ? 'ok' : verdict === 'refused' ? 'failed' : 'unknown';
  return { check, state, says, ...(place !== undefined && { place }) };
}
