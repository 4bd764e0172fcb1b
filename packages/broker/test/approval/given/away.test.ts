/** GitHub does not respond while a request and an emergency of a person wait. */
import { MeshpassError } from '@meshpass/identity';
import { afterAll, beforeAll, beforeEach, expect, it } from 'vitest';
import { createRateLimiter } from '../../../src/core/watch/rate-limiter.ts';
import type { IssuerResponse } from '../../../src/issuers/issuer-http.ts';
import { asSession, type Enrolled } from '../../harness/broker.ts';
import { startWorld, type World } from './world.ts';

const IDS: Readonly<Record<string, number>> = { alice: 1, bob: 2, zoe: 3 };
let world: World;
let alice: Enrolled;
let bob: Enrolled;
let zoe: Enrolled;
/** Reasons why GitHub does not answer. */
let away: MeshpassError | undefined;
beforeAll(async () => {
  world = await startWorld({
    parts: (clock, { idp }) => ({
      attest: async (proof, presenter) => {
        const { attestation, ...more } = await idp.attest(proof, presenter);
        const { login } = attestation;
        const id = IDS[login]!;
        const known = { ...attestation, githubUser: { id, login } };
        if (login !== 'bob') return { ...more, attestation: known };
        const person = { attestor: 'github-codespace', issuer: 'github', subject: `github:${id}` } as const;
        return { ...more, attestation: { ...known, ...person, claims: { billable_owner: 'acme' } } };
      },
      github: {
        rateLimiter: createRateLimiter(clock),
        read: async (_, path) => {
          if (away) throw away;
          const login = path.split('/').at(-1)!;
          if (path.includes('/teams/')) return answered({ state: login === 'bob' ? 'active' : 'pending' });
          return answered({ state: 'active', role: 'member', user: { id: IDS[login] } });
        },
      },
    }),
  });
  world.use(`
trust:
  codespaces: {organization: acme}
  issuers: {idp: {issuer: 'https://idp.example', audience: meshpass, signIn: {client: meshpass-operators}}}
grants:
  dev: {who: [{issuer: idp}, {user: bob}], to: [{service: orders.shop, port: 8080}]}
  prod:
    who: [{issuer: idp}, {user: bob}]
    to: [{service: ledger.shop, port: 8080}]
    approval: {by: {team: acme/leads}, emergency: {for: 20m, within: 24h}}`);
  [alice, bob, zoe] = (await world.people('alice', 'bob', 'zoe')) as [Enrolled, Enrolled, Enrolled];
});
beforeEach(() => {
  away = undefined;
});
afterAll(() => world.harness.stop());

function answered(body: unknown): IssuerResponse {
  return { status: 200, headers: new Headers(), body };
}

it.each(['issuer_unavailable', 'issuer_rate_limited'] as const)(
  "lists the person's own requests, and states that the rest is missing, while it is %s",
  async (code) => {
    const own = await world.post(alice, '/approvals', { grant: 'prod', reason: 'INC-1' });
    expect(own.status, own.text).toBe(200);
    const taken = await world.post(zoe, '/approvals/emergency', { grant: 'prod', reason: 'INC-2' });
    expect(taken.status, taken.text).toBe(200);
    const ids = (all: readonly { readonly id: string }[]) => all.map(({ id }) => id);
    const before = await world.overview(bob);
    expect([ids(before.to_answer), ids(before.to_review), before.incomplete]).toEqual([
      [own.json.id],
      [taken.json.id],
      undefined,
    ]);
    away = new MeshpassError(code, 'GitHub does not answer.', { retryAfter: 5 });
    expect(await world.overview(bob)).toMatchObject({
      own: [],
      to_answer: [],
      to_review: [],
      requestable: [{ grant: 'prod' }],
      incomplete: expect.stringMatching(/^Other people's requests are not listed, .*: GitHub does not answer\.$/),
    });
    expect(ids((await world.overview(alice)).own)).toContain(own.json.id);
    const answer = await world.post(bob, '/approvals/answer', { id: own.json.id, decision: 'approve' });
    expect(answer.json.error_code, 'an answer is never guessed').toBe(code);
    away = undefined;
    await world.post(alice, '/approvals/withdraw', { id: own.json.id });
    await world.post(bob, '/approvals/review', { id: taken.json.id, decision: 'accept', reason: 'seen' });
    await world.post(zoe, '/approvals/withdraw', { id: taken.json.id });
  },
);

it('fails for another reason, as ever', async () => {
  await world.post(alice, '/approvals', { grant: 'prod', reason: 'INC-1' });
  away = new MeshpassError('internal', 'Something else.');
  expect((await asSession(world.harness, bob, { path: '/approvals' })).status).toBe(500);
});
