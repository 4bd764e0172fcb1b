/** Pending action by key. Actions for the same key run one after another; different keys do not wait for each other. */
export type KeyedMutex = Map<string, Promise<unknown>>;

/** Runs an action after its key's previous actions, whether or not they failed. */
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
