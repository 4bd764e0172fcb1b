/** The memory of challenges is bounded, for each source and in total, and forgets expired ones. */
import { randomBytes } from 'node:crypto';
import { describe, expect, test } from 'vitest';
import { createPresenceChallenges } from '../../../src/attest/presence/challenges.ts';

const who = { jkt: 'key', codespaceId: 1 };

describe('the memory of challenges', () => {
  let now = 1_000_000;
  const made = (limits: { perSource?: number; capacity?: number }) =>
    createPresenceChallenges(() => now, randomBytes, limits);

  test('refuses a source that has its share, and accepts others', () => {
    const challenges = made({ perSource: 2 });
    const other = (id: number) => ({ ...who, codespaceId: id });
    const first = challenges.issue(who, 'a');
    challenges.issue(other(2), 'a');
    expect(() => challenges.issue(other(3), 'a')).toThrow(expect.objectContaining({ code: 'overloaded' }));
    challenges.issue(other(3), 'b');
    // A used challenge frees its place.
    expect(challenges.take(first.nonce, who)).toEqual({ path: first.path });
    challenges.issue(other(3), 'a');
  });

  test('allows a Codespace a few at a time: the oldest makes room, and no other share shrinks', () => {
    const challenges = made({ perSource: 20 });
    const first = challenges.issue(who, 'a');
    const later = Array.from({ length: 600 }, () => challenges.issue(who, 'a'));
    expect(challenges.take(first.nonce, who)).toBeUndefined();
    const kept = later.filter(({ nonce }) => challenges.take(nonce, who) !== undefined);
    expect(kept).toEqual(later.slice(-8));
    // Another of the same address has the rest of the share.
    for (let id = 2; id < 22; id++) challenges.issue({ ...who, codespaceId: id }, 'a');
    // A Codespace with challenges gets a new one instead of its oldest, even if the source has used its share.
    const again = challenges.issue({ ...who, codespaceId: 2 }, 'a');
    expect(() => challenges.issue({ ...who, codespaceId: 99 }, 'a')).toThrow(
      expect.objectContaining({ code: 'overloaded' }),
    );
    expect(challenges.take(again.nonce, { ...who, codespaceId: 2 })).toEqual({ path: again.path });
  });

  test('counts an IPv6 /64 as one source', () => {
    const challenges = made({ perSource: 2 });
    const other = (id: number) => ({ ...who, codespaceId: id });
    challenges.issue(other(1), '2001:db8::1');
    challenges.issue(other(2), '2001:db8::2');
    expect(() => challenges.issue(other(3), '2001:db8::3')).toThrow(expect.objectContaining({ code: 'overloaded' }));
    challenges.issue(other(3), '2001:db8:0:1::3');
  });

  test('refuses every client when it is full, until challenges have expired', () => {
    const challenges = made({ capacity: 3 });
    for (const [n, source] of ['a', 'b', 'c'].entries()) challenges.issue({ ...who, codespaceId: n + 2 }, source);
    expect(() => challenges.issue(who, 'd')).toThrow(expect.objectContaining({ code: 'overloaded', status: 503 }));
    now += 60_001;
    const { nonce, path } = challenges.issue(who, 'd');
    expect(challenges.take(nonce, who)).toEqual({ path });
  });

  test('also consumes a challenge that is presented with another key', () => {
    const challenges = made({});
    const { nonce } = challenges.issue(who, 'a');
    expect(challenges.take(nonce, { ...who, jkt: 'other' })).toBeUndefined();
    expect(challenges.take(nonce, who)).toBeUndefined();
  });

  test('issues unique nonces and paths that cannot be guessed', () => {
    const challenges = made({});
    const all = Array.from({ length: 100 }, (_, n) => challenges.issue({ ...who, codespaceId: n + 1 }, 'a'));
    expect(new Set(all.flatMap(({ nonce, path }) => [nonce, path.slice(1)])).size).toBe(200);
    for (const { nonce, path } of all) expect([nonce, path.slice(1)].every((one) => one.length === 43)).toBe(true);
  });
});
