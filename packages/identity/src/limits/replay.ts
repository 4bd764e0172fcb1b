/**
 * Remembers identifiers in bounded memory. Two generations are used instead of a timer per entry, so an identifier is
 * remembered for one to two windows.
 */
export type ReplayMemory = ReturnType<typeof createReplayMemory>;

/**
 * Creates an empty memory of identifiers.
 * @param windowSeconds minimum time for which an identifier is remembered
 * @param capacity maximum number of identifiers per generation
 * @param whenFull `refuse` never forgets an identifier early. `forget` evicts the oldest one: use it for identifiers
 *   that unknown clients can create without limit
 * @param perOwner maximum number of identifiers per owner and generation. Applies only with `refuse`
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
     * @param now Unix seconds
     * @param owner key that created the identifier
     * @returns `fresh` if the identifier is now remembered, `seen` if it was known. With `refuse`, `full` if the
     *   overall limit or the owner's limit has been reached
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
