/** Invented tokens: how many of them reach GitHub, and which clients they lock out. */
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import type { Attestor } from '../../src/attest/attest.ts';
import { createCodespaceTokenLimiter } from '../../src/attest/github/codespace.ts';
import { createGuessLimiter } from '../../src/base/limits/guess-limiter.ts';
import { createWorld, presentCodespace, refusal, type World } from '../attest/world.ts';

let world: World;
beforeAll(async () => {
  world = await createWorld();
});
afterAll(() => world.close());
beforeEach(() => world.github.admin.reset());

const answer = (status: number) => ({ status, headers: new Headers(), body: {} });
const invented = async (attest: Attestor, n: number, source = '192.0.2.66') =>
  (
    await refusal(
      attest(
        { type: 'github-codespace', token: `ghu_${String(n).padStart(36, 'x')}`, codespaceName: 'any' },
        { jkt: 'key', source },
      ),
    )
  ).code;

describe('tokens that GitHub does not know', () => {
  test('cause few calls to GitHub when one address sends a thousand, and the neighbours enrol', async () => {
    const attest = world.attest();
    const alice = await world.github.admin.createCodespace({ owner: 'alice', repository: 'acme/payments-api' });
    await world.github.admin.forgetCalls();
    const codes = await Promise.all(Array.from({ length: 1_000 }, (_, n) => invented(attest, n)));
    expect(new Set(codes)).toEqual(new Set(['proof_rejected', 'too_many_attempts']));
    const calls = await world.github.admin.calls();
    expect(new Set(calls)).toEqual(new Set(['GET /user']));
    expect(calls.length).toBeLessThan(30);
    expect((await presentCodespace(attest, alice)).attestation.login).toBe('alice');
  });

  test('share one limit over many addresses, which leaves room for a source that was attested before', async () => {
    const attest = world.attest();
    const space = { owner: 'alice', repository: 'acme/payments-api' };
    await presentCodespace(attest, await world.github.admin.createCodespace(space));
    await world.github.admin.forgetCalls();
    for (let source = 0; source < 20; source++)
      await Promise.all(
        Array.from({ length: 20 }, (_, n) => invented(attest, source * 100 + n, `198.51.100.${source}`)),
      );
    expect((await world.github.admin.calls()).length).toBeLessThan(130);
    const other = await world.github.admin.createCodespace({ owner: 'bob', repository: 'acme/orders' });
    expect((await presentCodespace(attest, other)).attestation.login).toBe('bob');
  });

  test('reach GitHub once a minute each', async () => {
    let now = Date.now();
    const attest = world.attest({ clock: () => now });
    await world.github.admin.forgetCalls();
    for (let n = 0; n < 50; n++) expect(await invented(attest, 1)).toBe('proof_rejected');
    expect(await world.github.admin.calls()).toEqual(['GET /user']);
    now += 61_000;
    expect(await invented(attest, 1)).toBe('proof_rejected');
    expect(await world.github.admin.calls()).toHaveLength(2);
  });
});

describe('the allowance', () => {
  test('makes accepted callers wait for one another, and refuses none', async () => {
    const guesses = createCodespaceTokenLimiter(() => 0);
    let most = 0;
    let flying = 0;
    const good = async () => {
      most = Math.max(most, ++flying);
      await new Promise((resolve) => setImmediate(resolve));
      flying--;
      return answer(200);
    };
    const answers = await Promise.all(
      Array.from({ length: 300 }, (_, n) => guesses.verify(`good-${n}`, '2001:db8::1', good)),
    );
    expect(answers.every((one) => one?.status === 200)).toBe(true);
    expect(most).toBe(20);
  });

  test('belongs to a /64, refills with time, and is not charged for a token that was accepted before', async () => {
    let now = 0;
    const guesses = createCodespaceTokenLimiter(() => now);
    const wrong = (n: number) => guesses.verify(`wrong-${n}`, `2001:db8::${n}`, async () => answer(401));
    await guesses.verify('good', '2001:db8::1', async () => answer(200));
    for (let n = 1; n <= 20; n++) expect((await wrong(n))?.status).toBe(401);
    expect(await refusal(wrong(21))).toMatchObject({ code: 'too_many_attempts', status: 429 });
    expect((await guesses.verify('good', '2001:db8::1', async () => answer(200)))?.status).toBe(200);
    now += 5_000;
    expect((await wrong(22))?.status).toBe(401);
    expect((await refusal(wrong(23))).code).toBe('too_many_attempts');
  });

  test('is refunded if GitHub did not answer', async () => {
    const guesses = createCodespaceTokenLimiter(() => 0);
    for (let n = 0; n < 50; n++) {
      const failed = guesses.verify(`token-${n}`, '192.0.2.1', () => Promise.reject(new Error('away')));
      await expect(failed).rejects.toThrow('away');
    }
  });
});

describe('a limit of guesses', () => {
  const limits = {
    verdict: (answer: string) => (answer === 'right' ? 'accepted' : 'refused') as 'accepted' | 'refused',
    perSource: { burst: 2, perSecond: 0 },
    refusedMs: 10_000,
  };

  test('asks once about a refused credential until its period has passed, and remembers a bounded number', async () => {
    let now = 0;
    const asked: string[] = [];
    const guesses = createGuessLimiter({ ...limits, perSource: { burst: 20_000, perSecond: 0 }, clock: () => now });
    const guess = (credential: string) =>
      guesses.verify(credential, '192.0.2.1', async () => {
        asked.push(credential);
        return 'wrong';
      });
    expect([await guess('a'), await guess('a')]).toEqual(['wrong', undefined]);
    now += 10_000;
    expect(await guess('a')).toBe('wrong');
    expect(asked).toEqual(['a', 'a']);
    for (let n = 0; n < 10_001; n++) await guess(`guess ${n}`);
    expect(await guess('guess 10000')).toBeUndefined();
    expect(await guess('guess 0')).toBe('wrong');
  });

  test('asks about a credential that many present at once no more often than a source may guess', async () => {
    const guesses = createGuessLimiter({ ...limits, clock: () => 0 });
    let asked = 0;
    const wrong = async () => {
      asked++;
      await new Promise((resolve) => setImmediate(resolve));
      return 'wrong';
    };
    const answers = Array.from({ length: 1_000 }, () => guesses.verify('a', '192.0.2.1', wrong));
    expect(new Set(await Promise.all(answers))).toEqual(new Set(['wrong', undefined]));
    expect(asked).toBe(2);
  });

  test('exempts known sources with `exemptKnown`, and not without it', async () => {
    for (const exemptKnown of [true, false]) {
      const guesses = createGuessLimiter({ ...limits, exemptKnown, clock: () => 0 });
      const guess = (credential: string, answer: string) => guesses.verify(credential, '192.0.2.1', async () => answer);
      guesses.trust('192.0.2.1');
      for (const one of ['a', 'b']) expect(await guess(one, 'wrong')).toBe('wrong');
      const rotated = await guess('new', 'right').catch((thrown: { code: string }) => thrown.code);
      expect(rotated).toBe(exemptKnown ? 'right' : 'too_many_attempts');
    }
  });
});
