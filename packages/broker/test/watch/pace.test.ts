/** How often GitHub is asked: within what it says is left, and not at all while it says to wait. */
import { describe, expect, it } from 'vitest';
import type { Answer } from '../../src/attest/ask.ts';
import { createPace, SHARE } from '../../src/watch/pace.ts';

const START = 1_800_000_000_000;

function world() {
  let now = START;
  const pace = createPace(() => now);
  const answer = (headers: Record<string, string | number>, status = 200): Answer => ({
    status,
    headers: new Headers(Object.entries(headers).map(([name, value]) => [name, String(value)])),
    body: {},
  });
  const told = (remaining: number, secondsToReset: number, limit = 5000) =>
    pace.observe(
      answer({
        'x-ratelimit-limit': limit,
        'x-ratelimit-remaining': remaining,
        'x-ratelimit-reset': now / 1000 + secondsToReset,
      }),
    );
  return { pace, answer, told, pass: (seconds: number) => (now += seconds * 1000) };
}

describe('createPace', () => {
  it('goes no faster than its floor, and that fast while nothing changes', () => {
    const { pace, told } = world();
    told(5000, 3600);
    expect(pace.delay(0, SHARE.codespaces, 10_000)).toBe(10_000);
    expect(pace.delay(1, SHARE.codespaces, 10_000)).toBe(10_000);
  });

  it('uses half of the hourly calls for Codespaces, where every page has changed', () => {
    const { pace, told } = world();
    told(5000, 3600);
    expect(pace.delay(50, SHARE.codespaces, 10_000)).toBeCloseTo(72_000, 0);
  });

  it('is faster where GitHub gives more', () => {
    const { pace, told } = world();
    told(15_000, 3600, 15_000);
    expect(pace.delay(50, SHARE.codespaces, 10_000)).toBeCloseTo(24_000, 0);
  });

  it('is slower where others have spent, and waits for the next hour where nothing may be spent any more', () => {
    const { pace, told } = world();
    told(1500, 1800);
    expect(pace.delay(50, SHARE.codespaces, 10_000)).toBeGreaterThan(72_000);
    told(100, 1800);
    expect(pace.delay(50, SHARE.codespaces, 10_000)).toBe(1_800_000);
    expect(pace.delay(0, SHARE.codespaces, 10_000)).toBe(1_800_000);
  });

  it('begins a new hour when GitHub said it would', () => {
    const { pace, told, pass } = world();
    told(0, 60);
    expect(pace.left()).toBe(0);
    pass(61);
    expect(pace.left()).toBe(5000);
    expect(pace.delay(0, SHARE.codespaces, 10_000)).toBe(10_000);
  });

  it('assumes the least where GitHub says nothing', () => {
    const { pace, answer } = world();
    pace.observe(answer({}));
    expect(pace.left()).toBeUndefined();
    expect(pace.delay(50, SHARE.codespaces, 1000)).toBeCloseTo(72_000, 0);
  });

  it('keeps silent for Retry-After, and until the reset where nothing is left', () => {
    const { pace, answer, pass } = world();
    pace.observe(answer({ 'retry-after': 30 }, 429));
    expect(pace.pausedFor()).toBe(30_000);
    pass(31);
    expect(pace.pausedFor()).toBe(0);
    const reset = (START + 31_000) / 1000 + 600;
    const spent = { 'x-ratelimit-limit': 5000, 'x-ratelimit-remaining': 0, 'x-ratelimit-reset': reset };
    pace.observe(answer(spent, 403));
    expect(pace.pausedFor()).toBe(600_000);
  });

  it('believes no pause of more than an hour, and no answer about another resource', () => {
    const { pace, answer } = world();
    pace.observe(answer({ 'retry-after': 10_000_000 }, 429));
    expect(pace.pausedFor()).toBe(3_600_000);
    pace.observe(answer({ 'x-ratelimit-limit': 30, 'x-ratelimit-remaining': 1, 'x-ratelimit-resource': 'search' }));
    expect(pace.left()).toBeUndefined();
  });
});
