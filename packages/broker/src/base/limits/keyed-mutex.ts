/**
 * Maps each key to its most recent action. Actions with the same key run one at a time, and different keys do not block
 * each other.
 */
export type KeyedMutex = Map<string, Promise<unknown>>;

/** Runs an action once all earlier actions with the same key have finished, whether or not they failed. */
export async function runExclusive<T>(mutex: KeyedMutex, key: string, act: () => Promise<T>): Promise<T> {
  const before = mutex.get(key);
  const mine = before === undefined ? act() : before.then(act, act);
  mutex.set(key, mine);
  try {
    return await mine;
  } finally {
    if (mutex.get(key) === mine) mutex.delete(key);
  }
}
