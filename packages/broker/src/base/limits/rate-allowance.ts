/** Limits the rate of attempts per key, with a token bucket each. */
import { MeshpassError } from '@meshpass/identity';

/** Settings of the buckets. */
export interface RateAllowanceTerms {
  readonly burst: number;
  readonly perSecond: number;
  /** Unix ms. */
  readonly clock: () => number;
  /** Maximum number of keys to remember. The least recently seen key is forgotten and gets its full allowance back. */
  readonly keys?: number;
}

/** Creates full buckets. */
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
    /** Whether the key has a token left. */
    has: (key: string) => bucketOf(key).left >= 1,
    /**
     * Takes a token.
     * @returns whether one was left
     */
    take,
    /**
     * Takes a token.
     * @throws MeshpassError `too_many_attempts` with this message if none was left
     */
    spend: (key: string, message: string): void => {
      if (!take(key)) throw new MeshpassError('too_many_attempts', message, { retryAfter: 1 / perSecond });
    },
    /** Returns a token that was taken before it was known whether the attempt counts. */
    giveBack: (key: string) => {
      const bucket = bucketOf(key);
      bucket.left = Math.min(burst, bucket.left + 1);
    },
  };
}
