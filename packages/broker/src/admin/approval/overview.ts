/**
 * Limits the size of request lists. The ports that a grant opens are computed once per list, and are left out once the
 * list has reached its size limit.
 */
import { MeshpassError } from '@meshpass/identity';
import { type ApprovalRequest, MAX_OPENED_PORTS } from '@meshpass/identity/approval';
import type { MeshState } from '../../mesh/index.ts';

/**
 * The maximum total size of all `opens` fields in a list, in bytes of JSON. Each request has its own copy, and every
 * copy counts.
 */
const MOST_OPENS = 256 * 1024;
/** The maximum size of each list in bytes, not counting `opens`. An agent reads at most 1 MiB in total. */
export const MAX_LIST_BYTES = 200 * 1024;

/** Returns the ports that a grant opens, up to `MAX_OPENED_PORTS`. */
export function listOpenedPorts(mesh: MeshState, grant: string): NonNullable<ApprovalRequest['opens']> {
  if (!mesh.inForce()) return [];
  return mesh
    .services([grant])
    .slice(0, MAX_OPENED_PORTS)
    .map(({ host, port, allow }) => ({ host, port, ...(allow && { allow: [...allow] }) }));
}

/**
 * Creates a function that returns the ports opened by a grant, or undefined once the list has reached its size limit.
 */
export function createPortLister(mesh: MeshState, most = MOST_OPENS): (grant: string) => ApprovalRequest['opens'] {
  const known = new Map<string, { readonly opens: NonNullable<ApprovalRequest['opens']>; readonly bytes: number }>();
  let left = most;
  return (grant) => {
    if (left <= 0) return undefined;
    let found = known.get(grant);
    if (!found) {
      const opens = listOpenedPorts(mesh, grant);
      found = { opens, bytes: jsonByteLength(opens) };
      known.set(grant, found);
    }
    left -= found.bytes;
    return left < 0 ? undefined : found.opens;
  };
}

/**
 * Returns as many elements from the start of the list as fit within the size limit.
 * @param most the limit in bytes
 */
export function takeWithinSize<Of>(all: Iterable<Of>, most: number, bytes: (one: Of) => number = jsonByteLength): Of[] {
  const first: Of[] = [];
  let left = most;
  for (const one of all) {
    left -= bytes(one);
    if (left < 0) break;
    first.push(one);
  }
  return first;
}

/**
 * Lists requests made by other people. If GitHub's data is unavailable, this returns an empty list instead of throwing,
 * so that the person's own requests can still be listed. `incomplete` then explains why requests may be missing.
 * @param list throws `issuer_unavailable` or `issuer_rate_limited` in that case
 */
export async function listIfAvailable<Of>(list: () => Promise<readonly Of[]>) {
  try {
    return { all: await list(), incomplete: undefined };
  } catch (thrown) {
    if (!(thrown instanceof MeshpassError) || !UNKNOWN.has(thrown.code)) throw thrown;
    const why = `Other people's requests are not listed, because the broker cannot currently check whether you may answer them: ${thrown.message}`;
    return { all: [], incomplete: why.slice(0, 1_024) };
  }
}

const UNKNOWN: ReadonlySet<string> = new Set(['issuer_unavailable', 'issuer_rate_limited']);

/** Returns the size of a value when encoded as JSON, in bytes. */
export function jsonByteLength(value: unknown): number {
  return Buffer.byteLength(JSON.stringify(value) ?? '');
}
