/**
 * Remembers identifiers for a while, in bounded memory. It never forgets early: when it is full it says so, and the
 * request is refused. Two generations instead of a timer an entry: what was remembered stays between one and two windows.
 */
export interface ReplayMemory {
  /**
   * @param now Unix seconds
   * @param source whose share it is, where sources have one
   * @returns `fresh` and remembered, or why not
   */
  readonly claim: (id: string, now: number, source?: string) => 'fresh' | 'seen' | 'full';
}

/**
 * @param windowSeconds an identifier is remembered at least as long
 * @param capacity identifiers in a generation
 * @param share of it that one source may fill: whoever makes proofs without end must not leave no room for others
 */
export function createReplayMemory(windowSeconds: number, capacity: number, share = capacity): ReplayMemory {
  const filled = new Map<string, number>();
  let young = new Set<string>();
  let old = new Set<string>();
  let turned = 0;
  return {
    claim: (id, now, source) => {
      if (now - turned > windowSeconds) {
        old = now - turned > 2 * windowSeconds ? new Set() : young;
        young = new Set();
        turned = now;
        filled.clear();
      }
      if (young.has(id) || old.has(id)) return 'seen';
      const mine = source === undefined ? 0 : (filled.get(source) ?? 0);
      if (young.size >= capacity || mine >= share) return 'full';
      young.add(id);
      if (source !== undefined) filled.set(source, mine + 1);
      return 'fresh';
    },
  };
}
