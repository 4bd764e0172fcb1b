/** A bounded cache for answers that expire. Concurrent callers for the same key share a single request. */
import { issuerUnavailableError } from './issuer-http.ts';

/** The maximum number of attempts to load an answer, in case every answer is already out of date when it arrives. */
const MAX_ATTEMPTS = 3;

/**
 * Creates an empty cache.
 * @param lifeMs returns how long an answer stays valid, in milliseconds
 * @param capacity the maximum number of answers. When the cache is full, the oldest answer is evicted.
 * @param clock returns the current time in milliseconds
 * @param count returns the current value of the loss counter (`Losses.now`). Only needed if answers can become void.
 */
export function createTtlCache<V>(
  lifeMs: (value: V) => number,
  capacity: number,
  clock: () => number,
  count: () => number = () => 0,
) {
  interface Entry {
    readonly answer: Promise<V>;
    readonly count: number;
    until: number;
  }
  const entries = new Map<string, Entry>();

  const begin = (key: string, load: () => Promise<V>): Entry => {
    const entry: Entry = { count: count(), answer: load(), until: Number.POSITIVE_INFINITY };
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
    return entry;
  };

  return {
    /**
     * Returns the cached answer, or loads it if there is no valid one.
     * @param load loads the answer. Failures are not cached.
     * @param isVoid returns whether an answer is void, given the count (`Losses.now`) at which it was requested. A void
     *   answer is loaded again, even if it has only just arrived.
     * @throws any error from `load`; MeshpassError `issuer_unavailable` if every answer was void when it arrived
     */
    async get(key: string, load: () => Promise<V>, isVoid: (count: number) => boolean = () => false) {
      for (let attempt = 0; attempt < MAX_ATTEMPTS; attempt++) {
        const known = entries.get(key);
        const entry = known && known.until > clock() && !isVoid(known.count) ? known : begin(key, load);
        const answer = await entry.answer;
        if (!isVoid(entry.count)) return answer;
      }
      throw issuerUnavailableError('GitHub', 'the data changed during every check');
    },
    forget: (key: string) => void entries.delete(key),
  };
}
