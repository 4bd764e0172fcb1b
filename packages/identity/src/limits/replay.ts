/**
 * Remembers identifiers in bounded memory. Two generations replace a timer per entry, so an identifier is remembered for
 * one to two windows.
 */
export type ReplayMemory = ReturnType<typeof createReplayMemory>;

/**
 * Creates an empty memory.
 * @param windowSeconds minimum time for which an identifier is remembered
 * @param capacity maximum identifiers in a generation
 * @param whenFull `refuse` never forgets early; `forget` evicts the oldest identifier, for identifiers that unknown
 *   clients can create endlessly
 * @param perOwner maximum identifiers per owner in a generation, if a full memory refuses
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
     * Remembers an identifier unless it is known.
     * @param now Unix seconds
     * @param owner key that made the identifier
     * @returns `fresh` if remembered; `full` only if a memory that refuses is full, or is full for this owner
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
