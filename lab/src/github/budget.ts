/** GitHub's primary rate limit: so many calls an hour for each caller, told in headers on every answer. */

const WINDOW_SECONDS = 3600;
const LIMIT = { nobody: 60, known: 5000 } as const;

export interface Budget {
  readonly limit: number;
  readonly used: number;
  readonly remaining: number;
  /** Unix seconds at which the budget is whole again. */
  readonly reset: number;
}

export interface Spent extends Budget {
  /** Whether this call was one too many. */
  readonly over: boolean;
}

export interface Budgets {
  /**
   * The budget after `cost` more calls.
   * @param key from budgetKey
   * @param now Unix milliseconds
   */
  spend(key: string, cost: number, now: number): Spent;
  /** Calls of each caller in its hour. */
  used(): Readonly<Record<string, number>>;
  clear(): void;
}

export function createBudgets(): Budgets {
  const used = new Map<string, { used: number; reset: number }>();
  return {
    spend(key, cost, now) {
      const seconds = Math.floor(now / 1000);
      let entry = used.get(key);
      if (!entry || entry.reset <= seconds) {
        entry = { used: 0, reset: seconds + WINDOW_SECONDS };
        used.set(key, entry);
      }
      const limit = key.startsWith('address:') ? LIMIT.nobody : LIMIT.known;
      entry.used = Math.min(limit + 1, entry.used + cost);
      const spent = Math.min(limit, entry.used);
      return { limit, used: spent, remaining: limit - spent, reset: entry.reset, over: entry.used > limit };
    },
    used: () => Object.fromEntries([...used].map(([key, entry]) => [key, entry.used])),
    clear: () => used.clear(),
  };
}

export function budgetHeaders(budget: Budget): Record<string, string> {
  return {
    'x-ratelimit-limit': String(budget.limit),
    'x-ratelimit-remaining': String(budget.remaining),
    'x-ratelimit-used': String(budget.used),
    'x-ratelimit-reset': String(budget.reset),
    'x-ratelimit-resource': 'core',
  };
}
