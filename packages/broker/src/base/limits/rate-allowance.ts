/** Limits the rate of attempts per key. Every key has its own token bucket. */
import { MeshpassError } from '@meshpass/identity';

/** The settings that apply to every token bucket. */
export interface RateAllowanceTerms {
  readonly burst: number;
  readonly perSecond: number;
  /** Returns the current time in Unix milliseconds. */
  readonly clock: () => number;
  /**
   * The maximum number of keys to track. Beyond that, the least recently used key is dropped and starts over with a
   * full bucket.
   */
  readonly keys?: number;
}

/** Creates a rate limiter whose buckets start out full. */
export function createRateAllowance({ burst, perSecond, clock, keys = 10_000 }: RateAllowanceTerms) {
  const buckets = new Map<string, { left: number; at: number }>();
  const bucketOf = (key: string) => {
    const now = clock();
    const { left, at } = buckets.get(key) ?? { left: burst, at: now };
    const bucket = { left: Math.min(burst, left + (Math.max(0, now - at) / 1000) * perSecond), at: now };
    buckets.delete(key);
    buckets.set(key, bucket);
    if (buckets.size > keys) buckets.delete(buckets.keys().next().value!);
    return bucket;
  };
  const take = (key: string): boolean => {
    const bucket = bucketOf(key);
    if (bucket.left < 1) return false;
    bucket.left -= 1;
    return true;
  };
  return {
    /** Whether the key has at least one token left. */
    has: (key: string) => bucketOf(key).left >= 1,
    /**
     * Takes a token from the key's bucket.
     * @returns whether a token was available
     */
    take,
    /**
     * Takes a token from the key's bucket.
     * @throws MeshpassError `too_many_attempts`, with the given message, if no token was available
     */
    spend: (key: string, message: string): void => {
      if (!take(key)) throw new MeshpassError('too_many_attempts', message, { retryAfter: 1 / perSecond });
    },
    /** Returns a token to the key's bucket. Call this after an attempt that turned out not to count. */
    giveBack: (key: string) => {
      const bucket = bucketOf(key);
      bucket.left = Math.min(burst, bucket.left + 1);
    },
  };
}
