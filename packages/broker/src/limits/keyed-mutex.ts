/** Runs what concerns one key one after the other; different keys do not wait for each other. */
export type Turns = Map<string, Promise<unknown>>;

export async function inTurn<T>(turns: Turns, key: string, act: () => Promise<T>): Promise<T> {
  const before = turns.get(key);
  const mine = before === undefined ? act() : before.then(act, act);
  turns.set(key, mine);
  try {
    return await mine;
  } finally {
    if (turns.get(key) === mine) turns.delete(key);
  }
}
