/** Challenges are bound to their key, Codespace and process, expire, and are accepted once. */
import { randomBytes } from 'node:crypto';
import { describe, expect, test } from 'vitest';
import { createPresenceChallenges } from '../../../src/attest/presence/presence.ts';

const who = { jkt: 'key', codespaceId: 1 };

describe('a challenge', () => {
  let now = 1_000_000;
  const made = () => createPresenceChallenges(() => now, randomBytes);

  test('is accepted once, of any number that the Codespace has', () => {
    const challenges = made();
    const all = Array.from({ length: 600 }, () => challenges.issue(who));
    for (const { nonce, path } of all) expect(challenges.take(nonce, who)).toEqual({ path });
    for (const { nonce } of all) expect(challenges.take(nonce, who)).toBeUndefined();
  });

  test('is accepted for its own key and Codespace only, and a refused one is not spent', () => {
    const challenges = made();
    const { nonce, path } = challenges.issue(who);
    expect(challenges.take(nonce, { ...who, jkt: 'other' })).toBeUndefined();
    expect(challenges.take(nonce, { ...who, codespaceId: 2 })).toBeUndefined();
    expect(made().take(nonce, who), 'another broker').toBeUndefined();
    expect(challenges.take(nonce, who)).toEqual({ path });
  });

  test('expires after a minute, and no client can prolong or invent one', () => {
    const challenges = made();
    const { nonce } = challenges.issue(who);
    now += 60_001;
    expect(challenges.take(nonce, who)).toBeUndefined();
    const later = Buffer.from(nonce, 'base64url');
    later.writeUInt32BE(later.readUInt32BE() + 60);
    expect(challenges.take(later.toString('base64url'), who)).toBeUndefined();
    for (const text of ['', 'a', 'a'.repeat(43), `${nonce}a`, nonce.slice(1)])
      expect(challenges.take(text, who)).toBeUndefined();
  });

  test('is accepted in one spelling', () => {
    const challenges = made();
    const { nonce } = challenges.issue(who);
    expect(challenges.take(nonce, who)).toBeDefined();
    for (const spelling of [`${nonce}=`, ` ${nonce}`, nonce.replaceAll('-', '+').replaceAll('_', '/')])
      expect(challenges.take(spelling, who)).toBeUndefined();
  });

  test('has a unique nonce, and a path that cannot be guessed from it', () => {
    const challenges = made();
    const all = Array.from({ length: 100 }, (_, n) => challenges.issue({ ...who, codespaceId: n + 1 }));
    expect(new Set(all.flatMap(({ nonce, path }) => [nonce, path.slice(1)])).size).toBe(200);
    for (const { nonce, path } of all) expect([nonce, path.slice(1)].every((one) => one.length === 43)).toBe(true);
  });
});
