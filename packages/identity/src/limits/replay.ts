/**
 * Remembers identifiers in a limited amount of memory. It uses two generations instead of a timer for each entry, so an
 * identifier is remembered for between one and two windows.
 */
export type ReplayMemory = ReturnType<typeof createReplayMemory>;

/**
 * Creates an empty memory for identifiers.
 * @param windowSeconds the minimum time for which an identifier is remembered
 * @param capacity the maximum number of identifiers in each generation
 * @param whenFull the behaviour when a limit is reached. `refuse` never forgets an identifier early. `forget` evicts
 *   the oldest one. Use this for identifiers that unknown clients can create without limit
 * @param perOwner the maximum number of identifiers per owner in each generation. This only applies to `refuse`
 */
export function createReplayMemory(
  windowSeconds: number,
  capacity: number,
  whenFull: 'refuse' | 'forget' = 'refuse',
  perOwner = capacity,
) {
  let young = new Set<string>();
  let old: ReadonlySet<string> = new Set();
  let owned = new Map<string, number>();
  let turned = 0;
  const turn = (now: number) => {
    old = now - turned > 2 * windowSeconds ? new Set() : young;
    young = new Set();
    owned = new Map();
    turned = now;
  };
  const count = (owner: string): number => owned.get(owner) ?? 0;
  return {
    /**
     * Remembers an identifier unless it is already known.
     * @param now the current time, in Unix seconds
     * @param owner the key that created the identifier
     * @returns `fresh` if the identifier is now remembered, or `seen` if it was known before. With `refuse`, returns
     *   `full` if the overall limit or the limit of the owner has been reached
     */
    claim: (id: string, now: number, owner: string): 'fresh' | 'seen' | 'full' => {
      if (now - turned > windowSeconds) turn(now);
      if (young.has(id) || old.has(id)) return 'seen';
      if (whenFull === 'refuse') {
        if (young.size >= capacity || count(owner) >= perOwner) return 'full';
        owned.set(owner, count(owner) + 1);
      } else if (young.size >= capacity) young.delete(young.values().next().value!);
      young.add(id);
      return 'fresh';
    },
  };
}
