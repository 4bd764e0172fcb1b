/**
 * Remembers identifiers for a while, in bounded memory. It never forgets early: when it is full it says so, and the
 * request is refused. Two generations instead of a timer an entry: what was remembered stays between one and two windows.
 */
export interface ReplayMemory {
  /**
   * @param now Unix seconds
   * @returns `fresh` and remembered, or why not
   */
  readonly claim: (id: string, now: number) => 'fresh' | 'seen' | 'full';
}

/**
 * @param windowSeconds an identifier is remembered at least as long
 * @param capacity identifiers in a generation
 */
export function createReplayMemory(windowSeconds: number, capacity: number): ReplayMemory {
  let young = new Set<string>();
  let old = new Set<string>();
  let turned = 0;
  return {
    claim: (id, now) => {
      if (now - turned > windowSeconds) {
        old = now - turned > 2 * windowSeconds ? new Set() : young;
        young = new Set();
        turned = now;
      }
      if (young.has(id) || old.has(id)) return 'seen';
      if (young.size >= capacity) return 'full';
      young.add(id);
      return 'fresh';
    },
  };
}
