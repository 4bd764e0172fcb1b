/** Rate of calls to GitHub: within the remaining calls that it reports, and none while it asks to wait. */
import { describe, expect, it } from 'vitest';
import { createRateLimiter, RATE_LIMIT_SHARES } from '../../src/core/watch/rate-limiter.ts';
import type { IssuerResponse } from '../../src/issuers/issuer-http.ts';

const START = 1_800_000_000_000;

function world() {
  let now = START;
  const rateLimiter = createRateLimiter(() => now);
  const answer = (headers: Record<string, string | number>, status = 200): IssuerResponse => ({
    status,
    headers: new Headers(Object.entries(headers).map(([name, value]) => [name, String(value)])),
    body: {},
  });
  const told = (remaining: number, secondsToReset: number, limit = 5000) =>
    rateLimiter.observe(
      answer({
        'x-ratelimit-limit': limit,
        'x-ratelimit-remaining': remaining,
        'x-ratelimit-reset': now / 1000 + secondsToReset,
      }),
    );
  return { rateLimiter, answer, told, pass: (seconds: number) => (now += seconds * 1000) };
}

describe('createPace', () => {
  /** Seconds between rounds of so many calls once the saved calls are spent. */
  const steady = ({ rateLimiter, pass }: ReturnType<typeof world>, cost: number, again = () => {}) => {
    const rounds = rateLimiter.rounds(RATE_LIMIT_SHARES.codespaces);
    let seconds = 0;
    for (let round = 0; round < 30; round++) {
      seconds = rounds.delay(cost, 10_000) / 1000;
      pass(seconds);
      again();
    }
    return seconds;
  };

  it('goes no faster than its floor, and that fast while little changes', () => {
    const one = world();
    one.told(5000, 3600);
    expect(steady(one, 0)).toBe(10);
    expect(steady(one, 5)).toBe(10);
  });

  it('uses half of the hourly calls for Codespaces if every page has changed', () => {
    const one = world();
    expect(steady(one, 50, () => one.told(5000, 3600))).toBeCloseTo(72, 0);
  });

  it("lets a burst pass, of five minutes' worth", () => {
    const { rateLimiter, told } = world();
    told(5000, 3600);
    const rounds = rateLimiter.rounds(RATE_LIMIT_SHARES.codespaces);
    for (let round = 0; round < 4; round++) expect(rounds.delay(50, 10_000)).toBe(10_000);
    expect(rounds.delay(50, 10_000)).toBeGreaterThan(40_000);
  });

  it('is faster if GitHub allows more', () => {
    const one = world();
    expect(steady(one, 50, () => one.told(15_000, 3600, 15_000))).toBeCloseTo(24, 0);
  });

  it('is slower if others have spent calls, and waits for the next hour if none are left', () => {
    const one = world();
    expect(steady(one, 50, () => one.told(1500, 1800))).toBeGreaterThan(100);
    one.told(100, 1800);
    const rounds = one.rateLimiter.rounds(RATE_LIMIT_SHARES.codespaces);
    expect(rounds.delay(50, 10_000)).toBe(1_800_000);
    expect(rounds.delay(0, 10_000)).toBe(1_800_000);
  });

  it('begins a new hour when GitHub said it would', () => {
    const { rateLimiter, told, pass } = world();
    told(0, 60);
    expect(rateLimiter.left()).toBe(0);
    pass(61);
    expect(rateLimiter.left()).toBe(5000);
    expect(rateLimiter.rounds(RATE_LIMIT_SHARES.codespaces).delay(0, 10_000)).toBe(10_000);
  });

  it('assumes the lowest limit if GitHub states none', () => {
    const one = world();
    one.rateLimiter.observe(one.answer({}));
    expect(one.rateLimiter.left()).toBeUndefined();
    expect(steady(one, 50)).toBeCloseTo(72, 0);
  });

  it('sends nothing for Retry-After, and until the reset if no calls are left', () => {
    const { rateLimiter, answer, pass } = world();
    rateLimiter.observe(answer({ 'retry-after': 30 }, 429));
    expect(rateLimiter.pausedFor()).toBe(30_000);
    pass(31);
    expect(rateLimiter.pausedFor()).toBe(0);
    const reset = (START + 31_000) / 1000 + 600;
    const spent = { 'x-ratelimit-limit': 5000, 'x-ratelimit-remaining': 0, 'x-ratelimit-reset': reset };
    rateLimiter.observe(answer(spent, 403));
    expect(rateLimiter.pausedFor()).toBe(600_000);
  });

  it('believes no pause of more than an hour, and no answer about another resource or without a caller', () => {
    const { rateLimiter, answer } = world();
    rateLimiter.observe(answer({ 'retry-after': 10_000_000 }, 429));
    expect(rateLimiter.pausedFor()).toBe(3_600_000);
    rateLimiter.observe(
      answer({ 'x-ratelimit-limit': 30, 'x-ratelimit-remaining': 1, 'x-ratelimit-resource': 'search' }),
    );
    rateLimiter.observe(answer({ 'x-ratelimit-limit': 60, 'x-ratelimit-remaining': 59 }, 401));
    expect(rateLimiter.left()).toBeUndefined();
  });

  it('lets the audit log spend a quarter of an hour of its share at once, and then as much as comes back', () => {
    const { rateLimiter, told, pass } = world();
    const mayAsk = rateLimiter.allowance(RATE_LIMIT_SHARES.events);
    const spend = () => {
      for (let calls = 0; ; calls++) if (!mayAsk()) return calls;
    };
    expect(spend()).toBe(250);
    pass(36);
    expect(spend()).toBe(10);
    told(0, 1800);
    pass(36);
    expect(spend()).toBe(0);
  });
});
