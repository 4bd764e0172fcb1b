/** What lists of requests have, within what a caller reads: `opens` of a grant is described once, and left out where it is too much. */
import { MeshpassError } from '@meshpass/identity';
import type { ApprovalRequest } from '@meshpass/identity/approval';
import type { MeshState } from '../reconcile/contract.ts';
import { opensOf } from './opens.ts';

/** Of what requests open in one list, bytes of JSON. Each request of a grant has it, so each counts. */
const MOST_OPENS = 256 * 1024;
/** Of each list without that. An agent reads 1 MiB in all. */
export const MOST_LISTED_BYTES = 200 * 1024;

/** @returns what a grant opens, for one list; undefined once the list has as much of that as it may */
export function opensWithin(mesh: MeshState, most = MOST_OPENS): (grant: string) => ApprovalRequest['opens'] {
  const known = new Map<string, { readonly opens: NonNullable<ApprovalRequest['opens']>; readonly bytes: number }>();
  let left = most;
  return (grant) => {
    if (left <= 0) return undefined;
    let found = known.get(grant);
    if (!found) {
      const opens = opensOf(mesh, grant);
      found = { opens, bytes: bytesOf(opens) };
      known.set(grant, found);
    }
    left -= found.bytes;
    return left < 0 ? undefined : found.opens;
  };
}

/** The first of them that are no more bytes together. */
export function firstWithin<Of>(all: Iterable<Of>, most: number, bytes: (one: Of) => number = bytesOf): Of[] {
  const first: Of[] = [];
  let left = most;
  for (const one of all) {
    left -= bytes(one);
    if (left < 0) break;
    first.push(one);
  }
  return first;
}

/** Of others, whom GitHub may have to be asked about. */
export interface OfOthers<Of> {
  readonly all: readonly Of[];
  /** Why some may be missing, in words. */
  readonly incomplete?: string;
}

/**
 * None while GitHub does not say whether somebody may answer them: what is one's own is listed all the same.
 * @param list throws `issuer_unavailable` or `issuer_rate_limited` then
 */
export async function whereKnown<Of>(list: () => Promise<readonly Of[]>): Promise<OfOthers<Of>> {
  try {
    return { all: await list() };
  } catch (thrown) {
    if (!(thrown instanceof MeshpassError) || !UNKNOWN.has(thrown.code)) throw thrown;
    const why = `What others wait for is not listed, because it is not known now whether you may answer it: ${thrown.message}`;
    return { all: [], incomplete: why.slice(0, 1_024) };
  }
}

const UNKNOWN: ReadonlySet<string> = new Set(['issuer_unavailable', 'issuer_rate_limited']);

export function bytesOf(value: unknown): number {
  return Buffer.byteLength(JSON.stringify(value) ?? '');
}
