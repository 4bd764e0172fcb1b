/**
 * A broker's store that answers late, as on a busy disk. Tests only: `npm run stress -- --late-store MS` sets the variable, and
 * `late-store-setup.ts` replaces the store of brokers in a test's own process. Processes that a test starts keep the real one.
 */
import { setTimeout as pause } from 'node:timers/promises';

/** Variable with the longest delay of a transaction, milliseconds. */
export const STORE_DELAY_VARIABLE = 'MESHPASS_TEST_STORE_DELAY_MS';

/** What is delayed of a store. */
interface Committing<Step> {
  readonly commit: (steps: readonly Step[]) => Promise<void>;
}

/**
 * Delays each transaction at random, part of the time before it is written and the rest before its answer.
 * @param maxMs longest delay, milliseconds
 * @param random returns a number from 0 to 1
 * @example withLateAnswers(await openStore(options), 200)
 */
export function withLateAnswers<Step, Store extends Committing<Step>>(
  store: Store & Committing<Step>,
  maxMs: number,
  random: () => number = Math.random,
): Store {
  const commit = async (steps: readonly Step[]) => {
    const delay = maxMs * random();
    const before = delay * random();
    await pause(before);
    await store.commit(steps);
    await pause(delay - before);
  };
  return { ...store, commit };
}

/** Reads the longest delay from the environment, milliseconds. @throws Error if it is no positive number */
export function storeDelay(env: NodeJS.ProcessEnv): number {
  const value = env[STORE_DELAY_VARIABLE];
  if (!value) return 0;
  if (/^\d+$/.test(value)) return Number(value);
  throw new Error(`${STORE_DELAY_VARIABLE} is "${value}", which is no number of milliseconds.`);
}
