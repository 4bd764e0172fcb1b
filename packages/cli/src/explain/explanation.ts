/** What `meshpass explain` says: a verdict, and a line for each hop with its reason. */
import type { WantedCall } from './call.ts';

export type Verdict = 'allowed' | 'refused' | 'unknown';

export interface HopLine {
  readonly hop: 'workspace' | 'edge and gateway' | 'workload';
  readonly verdict: Verdict;
  readonly reason: string;
  /** `access.yaml:12`, where a line of a file decides. */
  readonly place?: string;
}

export interface Explanation {
  readonly verdict: Verdict;
  readonly call: WantedCall;
  /** The session, for whoever is asked to change something. */
  readonly session: string;
  /** Full name and port of the service that answers; absent where none is known. */
  readonly endpoint?: string;
  /** The grant that serves the call. */
  readonly grant?: string;
  readonly hops: readonly HopLine[];
  /** What no workspace can know, and how to find out; absent where it makes no difference. */
  readonly beyond?: string;
}

/** One refusal refuses; what is not known leaves the rest open. */
export function verdictOf(hops: readonly HopLine[]): Verdict {
  if (hops.some(({ verdict }) => verdict === 'refused')) return 'refused';
  return hops.some(({ verdict }) => verdict === 'unknown') ? 'unknown' : 'allowed';
}
