/** Splits a long list across several policies. */

/**
 * Maximum entries per policy, because Envoy scans the list and a Kubernetes object may have at most 1.5 MB (250 KB are
 * enough for the longest names).
 */
const ENTRIES_PER_POLICY = 400;

/**
 * Keeps every entry in its policy, so that adding or removing an entry rewrites only one policy.
 * @param base name of the first policy; further ones are BASE-1, BASE-2 and so on
 * @param before current entries of every policy
 * @returns new entries of every policy that has any
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
