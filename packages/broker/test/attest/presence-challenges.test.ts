/** The memory of challenges is bounded, for each source and in all, and forgets what has expired. */
import { randomBytes } from 'node:crypto';
import { describe, expect, test } from 'vitest';
import { createPresenceChallenges } from '../../src/attest/presence-challenges.ts';

const who = { jkt: 'key', codespaceId: 1 };

describe('the memory of challenges', () => {
  let now = 1_000_000;
  const made = (limits: { perSource?: number; capacity?: number }) =>
    createPresenceChallenges(() => now, randomBytes, limits);

  test('refuses a source that holds its share, and takes others', () => {
    const challenges = made({ perSource: 2 });
    const first = challenges.issue(who, 'a');
    challenges.issue(who, 'a');
    expect(() => challenges.issue(who, 'a')).toThrow(expect.objectContaining({ code: 'overloaded' }));
    challenges.issue(who, 'b');
    // What was used is free again.
    expect(challenges.take(first.nonce, who)).toEqual({ path: first.path });
    challenges.issue(who, 'a');
  });

  test('refuses everybody when it is full, until challenges have expired', () => {
    const challenges = made({ capacity: 3 });
    for (const source of ['a', 'b', 'c']) challenges.issue(who, source);
    expect(() => challenges.issue(who, 'd')).toThrow(expect.objectContaining({ code: 'overloaded', status: 503 }));
    now += 60_001;
    const { nonce, path } = challenges.issue(who, 'd');
    expect(challenges.take(nonce, who)).toEqual({ path });
  });

  test('spends a challenge also on who presents it with another key', () => {
    const challenges = made({});
    const { nonce } = challenges.issue(who, 'a');
    expect(challenges.take(nonce, { ...who, jkt: 'other' })).toBeUndefined();
    expect(challenges.take(nonce, who)).toBeUndefined();
  });

  test('gives nonce and path that nobody can guess, each its own', () => {
    const challenges = made({});
    const all = Array.from({ length: 100 }, () => challenges.issue(who, 'a'));
    expect(new Set(all.flatMap(({ nonce, path }) => [nonce, path.slice(1)])).size).toBe(200);
    for (const { nonce, path } of all) expect([nonce, path.slice(1)].every((one) => one.length === 43)).toBe(true);
  });
});
