/** A list that is too long for one policy, spread over several. */

/** One policy holds no more: Envoy walks the list, and a Kubernetes object is 1.5 MB at most (250 KB with the longest names). */
const ENTRIES_PER_POLICY = 400;

/**
 * Leaves every entry in the policy where it stands, so that one more or one less rewrites one policy.
 * @param base name of the first policy; others are called BASE-1, BASE-2 and so on
 * @param before the content of every policy until now
 * @returns the content of every policy that has any
 */
export function shardEntries(
  base: string,
  before: ReadonlyMap<string, readonly string[]>,
  wanted: readonly string[],
): ReadonlyMap<string, readonly string[]> {
  const missing = new Set(wanted);
  const after = new Map<string, string[]>();
  for (const [name, entries] of before) {
    const kept = entries.filter((entry) => missing.delete(entry));
    if (kept.length > 0) after.set(name, kept);
  }
  for (let number = 0; missing.size > 0; number += 1) {
    const name = number === 0 ? base : `${base}-${number}`;
    const held = after.get(name) ?? [];
    const added = [...missing].slice(0, Math.max(0, ENTRIES_PER_POLICY - held.length));
    for (const entry of added) missing.delete(entry);
    if (added.length > 0) after.set(name, [...held, ...added]);
  }
  return after;
}
