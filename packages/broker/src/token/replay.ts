/**
 * Remembers identifiers for a while, in bounded memory. Where sources have no shares it never forgets early: when it is full it
 * says so, and the request is refused. Two generations instead of a timer an entry: what was remembered stays between one and
 * two windows.
 */
export interface ReplayMemory {
  /**
   * @param now Unix seconds
   * @param source whose share it is: what does not fit takes the place of its oldest, or of the oldest of all
   * @returns `fresh` and remembered, or why not; `full` only without a source
   */
  readonly claim: (id: string, now: number, source?: string) => 'fresh' | 'seen' | 'full';
}

/**
 * @param windowSeconds an identifier is remembered at least as long
 * @param capacity identifiers in a generation
 * @param share of it that one source may fill: whoever makes proofs without end must not leave no room for others
 */
export function createReplayMemory(windowSeconds: number, capacity: number, share = capacity): ReplayMemory {
  const shares = new Map<string, Set<string>>();
  /** Each with whose share it is, the oldest first. */
  let young = new Map<string, string | undefined>();
  let old: ReadonlyMap<string, string | undefined> = new Map();
  let turned = 0;
  return {
    claim: (id, now, source) => {
      if (now - turned > windowSeconds) {
        old = now - turned > 2 * windowSeconds ? new Map() : young;
        young = new Map();
        turned = now;
        shares.clear();
      }
      if (young.has(id) || old.has(id)) return 'seen';
      if (source === undefined) {
        if (young.size >= capacity) return 'full';
      } else {
        const mine = shares.get(source);
        if (mine && mine.size >= share) forget(mine.keys().next().value!);
        else if (young.size >= capacity) forget(young.keys().next().value!);
        const kept = shares.get(source) ?? new Set();
        shares.set(source, kept.add(id));
      }
      young.set(id, source);
      return 'fresh';
    },
  };

  function forget(id: string): void {
    const source = young.get(id);
    young.delete(id);
    if (source === undefined) return;
    const kept = shares.get(source);
    kept?.delete(id);
    if (kept?.size === 0) shares.delete(source);
  }
}
