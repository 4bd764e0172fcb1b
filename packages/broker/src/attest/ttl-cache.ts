/** Answers that may be used again for a while: bounded in number, asked once for all who wait. */
import { unavailable } from './issuer-http.ts';

export interface TtlCache<V> {
  /**
   * @param ask called unless the answer is still good; a failure is not remembered
   * @param isVoid whether an answer to what was asked at this count (`Losses.now`) counts no longer: it is asked again then, also
   *   where the answer comes only now
   * @throws what `ask` throws; MeshpassError `issuer_unavailable` where each answer was void before it came
   */
  get(key: string, load: () => Promise<V>, isVoid?: (asked: number) => boolean): Promise<V>;
  forget(key: string): void;
}

/** How often an answer may be void when it comes. */
const MAX_ASKED = 3;

/**
 * @param lifeMs how long an answer stays good, milliseconds
 * @param capacity answers kept; the oldest goes first
 * @param clock milliseconds
 * @param count `Losses.now`, where answers may become void
 */
export function createTtlCache<V>(
  lifeMs: (value: V) => number,
  capacity: number,
  clock: () => number,
  count: () => number = () => 0,
): TtlCache<V> {
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
    async get(key, load, isVoid = () => false) {
      for (let asked = 0; asked < MAX_ASKED; asked++) {
        const known = entries.get(key);
        const entry = known && known.until > clock() && !isVoid(known.asked) ? known : begin(key, load);
        const answer = await entry.answer;
        if (!isVoid(entry.asked)) return answer;
      }
      throw unavailable('GitHub', 'it changed during every check');
    },
    forget: (key) => void entries.delete(key),
  };
}
