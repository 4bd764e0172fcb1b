/** Limits the rate of attempts per key. Each key has a token bucket. */
import { MeshpassError } from '@meshpass/identity';

/** Settings of the token buckets. */
export interface RateAllowanceTerms {
  readonly burst: number;
  readonly perSecond: number;
  /** Returns the current time, Unix ms. */
  readonly clock: () => number;
  /** Maximum number of keys. Beyond it, the least recently seen key is forgotten and regains its full allowance. */
  readonly keys?: number;
}

/** Creates an allowance with full buckets. */
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
     * Takes a token from the bucket of a key.
     * @returns whether a token was left
     */
    take,
    /**
     * Takes a token from the bucket of a key.
     * @throws MeshpassError `too_many_attempts` with this message if no token was left
     */
    spend: (key: string, message: string): void => {
      if (!take(key)) throw new MeshpassError('too_many_attempts', message, { retryAfter: 1 / perSecond });
    },
    /** Puts a token back that was taken before it was known whether the attempt counts. */
    giveBack: (key: string) => {
      const bucket = bucketOf(key);
      bucket.left = Math.min(burst, bucket.left + 1);
    },
  };
}
