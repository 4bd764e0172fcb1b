/**
 * Limits the size of request lists. A grant's `opens` is computed once per list, and is omitted once the list has
 * reached its limit.
 */
import { MeshpassError } from '@meshpass/identity';
import { type ApprovalRequest, MAX_OPENED_PORTS } from '@meshpass/identity/approval';
import type { MeshState } from '../../mesh/index.ts';

/** Maximum total size of `opens` in a list, bytes of JSON. It is repeated in every request, so every copy counts. */
const MOST_OPENS = 256 * 1024;
/** Maximum size of each list without `opens`, bytes. An agent reads 1 MiB in total. */
export const MAX_LIST_BYTES = 200 * 1024;

/** Returns the ports that a grant opens, up to MAX_OPENED_PORTS. */
export function listOpenedPorts(mesh: MeshState, grant: string): NonNullable<ApprovalRequest['opens']> {
  if (!mesh.inForce()) return [];
  return mesh
    .services([grant])
    .slice(0, MAX_OPENED_PORTS)
    .map(({ host, port, allow }) => ({ host, port, ...(allow && { allow: [...allow] }) }));
}

/** Creates a function that returns the ports that a grant opens, or undefined once the list has reached its limit. */
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
 * Returns the first elements whose total size is within the limit.
 * @param most bytes
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
 * Lists other people's requests. While GitHub's data is unavailable, the result is an empty list instead of an error,
 * so that a person's own requests are still listed. `incomplete` explains why requests may be missing.
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

/** Returns the size of a value as JSON, bytes. */
export function jsonByteLength(value: unknown): number {
  return Buffer.byteLength(JSON.stringify(value) ?? '');
}
