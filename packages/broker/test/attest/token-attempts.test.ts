/** Tokens that somebody invents: what GitHub hears of them, and whom they keep out. */
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import type { Attest } from '../../src/attest/attest.ts';
import { createTokenAttempts } from '../../src/attest/token-attempts.ts';
import { createWorld, presentCodespace, refusal, type World } from './world.ts';

let world: World;
beforeAll(async () => {
  world = await createWorld();
});
afterAll(() => world.close());
beforeEach(() => world.github.admin.reset());

const answer = (status: number) => ({ status, headers: new Headers(), body: {} });
const invented = async (attest: Attest, n: number, source = '192.0.2.66') =>
  (
    await refusal(
      attest(
        { type: 'github-codespace', token: `ghu_${String(n).padStart(36, 'x')}`, codespaceName: 'any' },
        { jkt: 'key', source },
      ),
    )
  ).code;

describe('tokens that GitHub does not know', () => {
  test('a thousand of one address are few questions to GitHub, and the neighbours enrol', async () => {
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

  test('of many addresses are bounded together, and leave room where somebody was attested', async () => {
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

  test('are taken to GitHub once in a minute each', async () => {
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
  test('has those who are accepted wait for one another, and refuses none', async () => {
    const attempts = createTokenAttempts(() => 0);
    let most = 0;
    let flying = 0;
    const good = async () => {
      most = Math.max(most, ++flying);
      await new Promise((resolve) => setImmediate(resolve));
      flying--;
      return answer(200);
    };
    const answers = await Promise.all(
      Array.from({ length: 300 }, (_, n) => attempts.request(`good-${n}`, '2001:db8::1', good)),
    );
    expect(answers.every(({ status }) => status === 200)).toBe(true);
    expect(most).toBe(20);
  });

  test('is of a /64, comes back with time, and is not that of a token that was accepted before', async () => {
    let now = 0;
    const attempts = createTokenAttempts(() => now);
    const wrong = (n: number) => attempts.request(`wrong-${n}`, `2001:db8::${n}`, async () => answer(401));
    await attempts.request('good', '2001:db8::1', async () => answer(200));
    for (let n = 1; n <= 20; n++) expect((await wrong(n)).status).toBe(401);
    expect(await refusal(wrong(21))).toMatchObject({ code: 'too_many_attempts', status: 429 });
    expect((await attempts.request('good', '2001:db8::1', async () => answer(200))).status).toBe(200);
    now += 5_000;
    expect((await wrong(22)).status).toBe(401);
    expect((await refusal(wrong(23))).code).toBe('too_many_attempts');
  });

  test('comes back where GitHub did not answer', async () => {
    const attempts = createTokenAttempts(() => 0);
    for (let n = 0; n < 50; n++) {
      const failed = attempts.request(`token-${n}`, '192.0.2.1', () => Promise.reject(new Error('away')));
      await expect(failed).rejects.toThrow('away');
    }
  });
});
