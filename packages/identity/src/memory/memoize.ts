/** Memoization, for functions that should compute each result only once. */

/**
 * Creates a function that computes the result for each key only once.
 * @param make computes the result, which must depend on the key only
 * @param known the stored results. Defaults to a WeakMap, so that keys can be garbage-collected
 * @example
 * ```ts
 * import { memoize } from '@meshpass/identity';
 * const lengthOf = memoize((list: readonly number[]) => list.length);
 * lengthOf([1, 2]); // => 2
 * ```
 */
export function memoize<Key extends WeakKey, T>(make: (key: Key) => T): (key: Key) => T;
export function memoize<Key, T>(make: (key: Key) => T, known: Map<NoInfer<Key>, NoInfer<T>>): (key: Key) => T;
export function memoize<Key extends WeakKey, T>(
  make: (key: Key) => T,
  known: Map<Key, T> | WeakMap<Key, T> = new WeakMap(),
): (key: Key) => T {
  return (key) => {
    let value = known.get(key);
    if (value === undefined && !known.has(key)) {
      value = make(key);
      known.set(key, value);
    }
    return value as T;
  };
}

/** Creates a function that calls `make` once for each key, and then always returns the stored result. */
export function createMemo(): <T>(key: string, make: () => T) => T {
  const known = new Map<string, unknown>();
  return <T>(key: string, make: () => T): T => {
    if (!known.has(key)) known.set(key, make());
    return known.get(key) as T;
  };
}
