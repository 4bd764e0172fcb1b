/** Bounded cache of answers that expire. Concurrent callers share one request. */
import { issuerUnavailableError } from './issuer-http.ts';

/** Maximum loads if each answer is void on arrival. */
const MAX_ASKED = 3;

/**
 * Creates an empty cache.
 * @param lifeMs lifetime of an answer, milliseconds
 * @param capacity maximum answers; the oldest is evicted
 * @param clock milliseconds
 * @param count `Losses.now`, if answers may become void
 */
export function createTtlCache<V>(
  lifeMs: (value: V) => number,
  capacity: number,
  clock: () => number,
  count: () => number = () => 0,
) {
  interface Entry {
    readonly answer: Promise<V>;
    readonly asked: number;
    until: number;
  }
  const entries = new Map<string, Entry>();

  const begin = (key: string, load: () => Promise<V>): Entry => {
    const entry: Entry = { asked: count(), answer: load(), until: Number.POSITIVE_INFINITY };
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
     * Returns the cached answer or loads it.
     * @param load called if no valid answer is cached; failures are not cached
     * @param isVoid whether an answer requested at this count (`Losses.now`) is void; it is then loaded again, even if it
     *   has only just arrived
     * @throws errors from `load`; MeshpassError `issuer_unavailable` if every answer was void on arrival
     */
    async get(key: string, load: () => Promise<V>, isVoid: (asked: number) => boolean = () => false) {
      for (let asked = 0; asked < MAX_ASKED; asked++) {
        const known = entries.get(key);
        const entry = known && known.until > clock() && !isVoid(known.asked) ? known : begin(key, load);
        const answer = await entry.answer;
        if (!isVoid(entry.asked)) return answer;
      }
      throw issuerUnavailableError('GitHub', 'the data changed during every check');
    },
    forget: (key: string) => void entries.delete(key),
  };
}
