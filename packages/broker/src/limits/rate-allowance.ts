/** So much at once, and so much a second after that, for each of many: a token bucket each, in bounded memory. */
export interface RateAllowance {
  /** Whether something is left for it. */
  readonly has: (key: string) => boolean;
  /** Takes one. @returns whether there was one */
  readonly take: (key: string) => boolean;
  /** Gives one back that was taken before it was known whether it counts. */
  readonly giveBack: (key: string) => void;
}

export interface RateAllowanceTerms {
  readonly burst: number;
  readonly perSecond: number;
  /** Unix ms. */
  readonly clock: () => number;
  /** Keys that are remembered. The one that was seen longest ago is forgotten, and has all of its allowance again. */
  readonly keys?: number;
}

export function createRateAllowance({ burst, perSecond, clock, keys = 10_000 }: RateAllowanceTerms): RateAllowance {
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
  return {
    has: (key) => bucketOf(key).left >= 1,
    take: (key) => {
      const bucket = bucketOf(key);
      if (bucket.left < 1) return false;
      bucket.left -= 1;
      return true;
    },
    giveBack: (key) => {
      const bucket = bucketOf(key);
      bucket.left = Math.min(burst, bucket.left + 1);
    },
  };
}
