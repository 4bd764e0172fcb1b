/** Answers that may be used again for a while: bounded in number, asked once for all who wait. */

export interface Remembered<V> {
  /** @param ask called unless the answer is still good; a failure is not remembered */
  get(key: string, ask: () => Promise<V>): Promise<V>;
  forget(key: string): void;
}

/**
 * @param lifeMs how long an answer stays good, milliseconds
 * @param capacity answers kept; the oldest goes first
 * @param clock milliseconds
 */
export function createRemembered<V>(
  lifeMs: (value: V) => number,
  capacity: number,
  clock: () => number,
): Remembered<V> {
  const entries = new Map<string, { readonly answer: Promise<V>; until: number }>();
  return {
    get(key, ask) {
      const known = entries.get(key);
      if (known && known.until > clock()) return known.answer;
      const entry = { answer: ask(), until: Number.POSITIVE_INFINITY };
      entries.delete(key);
      entries.set(key, entry);
      if (entries.size > capacity) entries.delete(entries.keys().next().value!);
      entry.answer.then(
        (value) => {
          entry.until = clock() + lifeMs(value);
        },
        () => {
          if (entries.get(key) === entry) entries.delete(key);
        },
      );
      return entry.answer;
    },
    forget: (key) => void entries.delete(key),
  };
}
