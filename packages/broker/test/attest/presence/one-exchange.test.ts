/** Exchange with a port on which the agent already listens: the broker asks there at once, for this exchange alone. */
import type { IncomingMessage } from 'node:http';
import { createPresenceProof, dpopThumbprint, exchangeDigest } from '@meshpass/identity';
import type { StartedCodespace } from '@meshpass/lab/github/admin-client';
import { afterAll, beforeAll, beforeEach, expect, test, vi } from 'vitest';
import type { Attestor } from '../../../src/attest/attest.ts';
import { newKey, PUBLIC_URL } from '../../harness/broker.ts';
import { createWorld, presentCodespace, refusal, type World } from '../world.ts';
import { loopbackServers } from './loopback-servers.ts';

let world: World;
let alice: StartedCodespace;
const serve = loopbackServers();

beforeAll(async () => {
  world = await createWorld();
});
afterAll(() => world.close());
beforeEach(async () => {
  await world.github.admin.reset();
  alice = await world.github.admin.createCodespace({ owner: 'alice', repository: 'acme/payments-api' });
});

type Changes = Partial<Parameters<typeof createPresenceProof>[0]>;

/** Listens on a port of the Codespace, which is loopback here. @returns received requests */
async function listen(answer: (nonce: string) => string | undefined) {
  const asked: IncomingMessage[] = [];
  const served = await serve((request, response) => {
    asked.push(request);
    const body = answer(request.url!.slice(1));
    if (body !== undefined) response.end(body);
  });
  return { asked, ...served };
}

const key = newKey();
const DPOP = 'the DPoP proof of the exchange';

function signed(nonce: string, changes: Changes = {}): string {
  return createPresenceProof({
    key,
    challenge: { nonce, path: `/${nonce}` },
    broker: PUBLIC_URL,
    codespaceName: alice.name,
    dpop: DPOP,
    expiresAt: Math.floor(Date.now() / 1000) + 60,
    ...changes,
  });
}

function exchange(attest: Attestor, port: number, space: { name: string; token: string } = alice) {
  const proof = { type: 'github-codespace', token: space.token, codespaceName: space.name } as const;
  const presence = { exchange: exchangeDigest(DPOP), port };
  return attest(proof, { jkt: dpopThumbprint(key.jwk), source: '192.0.2.1', presence });
}

test('a developer in the Codespace gets in by one exchange, and is asked once', async () => {
  const { presence, attestation } = await presentCodespace(world.attest(), alice);
  expect(presence).toBe('answered');
  expect(attestation.workspace.key).toBe(`codespace:${alice.id}`);
  expect(await world.github.admin.forwarded()).toHaveLength(1);
});

test('each exchange asks for another path', async () => {
  const { asked, port } = await listen((nonce) => signed(nonce));
  const attest = world.attest();
  await exchange(attest, port);
  await exchange(attest, port);
  const paths = asked.map(({ url }) => url);
  expect(new Set(paths).size).toBe(2);
  for (const path of paths) expect(path).toMatch(/^\/[\w-]{43}$/);
});

let earlier = '';
const wrong: [string, (nonce: string) => string][] = [
  ['made for another exchange of the same key', (nonce) => signed(nonce, { dpop: 'another DPoP proof' })],
  ['made for no exchange', (nonce) => unbound(nonce)],
  ['signed with another key', (nonce) => signed(nonce, { key: newKey() })],
  ['made for another broker', (nonce) => signed(nonce, { broker: 'https://evil.example' })],
  ['made in another Codespace', (nonce) => signed(nonce, { codespaceName: 'another-space' })],
  ['made for another nonce', (nonce) => signed(nonce, { challenge: { nonce: 'a'.repeat(43), path: `/${nonce}` } })],
  ['made for another path', (nonce) => signed(nonce, { challenge: { nonce, path: `/${'a'.repeat(43)}` } })],
  ['expired', (nonce) => signed(nonce, { expiresAt: Math.floor(Date.now() / 1000) - 90 })],
  ['the requested path', (nonce) => nonce],
  ['hello', () => 'hello'],
];
test.each(wrong)('an answer is refused that is %s', async (_, answer) => {
  const { port } = await listen(answer);
  expect(await refusal(exchange(world.attest(), port))).toMatchObject({ code: 'presence_mismatch', status: 400 });
});

test('an answer that was taken before is refused', async () => {
  const { port } = await listen((nonce) => {
    earlier ||= signed(nonce);
    return earlier;
  });
  const attest = world.attest();
  expect((await exchange(attest, port)).presence).toBe('answered');
  expect((await refusal(exchange(attest, port))).text).toContain('a different challenge');
});

test('the answer to a challenge of a refusal must not speak of an exchange', async () => {
  const attest = world.attest();
  const proof = { type: 'github-codespace', token: alice.token, codespaceName: alice.name } as const;
  const presenter = { jkt: dpopThumbprint(key.jwk), source: '192.0.2.1' };
  const challenge = await attest(proof, presenter).then(
    () => undefined,
    (thrown) => thrown.members.presence,
  );
  const { port } = await listen(() => signed(challenge.nonce, { challenge }));
  const presence = { nonce: challenge.nonce, port };
  expect((await refusal(attest(proof, { ...presenter, presence }))).text).toContain('a different exchange');
});

test('no port is asked if GitHub does not find the Codespace or it belongs to another person', async () => {
  const { asked, port } = await listen((nonce) => signed(nonce));
  const bob = await world.github.admin.createCodespace({ owner: 'bob', repository: 'acme/payments-api' });
  for (const space of [
    { name: alice.name, token: `ghu_${'a'.repeat(36)}` },
    { name: bob.name, token: alice.token },
  ])
    expect((await refusal(exchange(world.attest(), port, space))).status).toBe(400);
  expect(asked).toEqual([]);
});

test('an answer does not help against another refusal, and teams are not requested before it', async () => {
  const { asked, port } = await listen((nonce) => signed(nonce));
  const foreign = { owner: 'mallory', repository: 'mallory/payments-api', tokenReadsCodespaces: true };
  const space = await world.github.admin.createCodespace(foreign);
  expect((await refusal(exchange(world.attest(), port, space))).code).toBe('workspace_not_trusted');
  expect(asked.length).toBeLessThanOrEqual(1);
  const silent = await listen(() => undefined);
  expect((await refusal(exchange(world.attest({ timeoutMs: 300 }), silent.port))).code).toBe('presence_unanswered');
  expect((await world.github.admin.calls()).filter((call) => call.includes('/teams/'))).toEqual([]);
});

test('a refusal stops the wait and further requests', async () => {
  const { server, port } = await listen(() => undefined);
  const foreign = { owner: 'mallory', repository: 'mallory/payments-api', tokenReadsCodespaces: true };
  const space = await world.github.admin.createCodespace(foreign);
  const refused = await refusal(exchange(world.attest({ timeoutMs: 60_000 }), port, space));
  expect(refused.code).toBe('workspace_not_trusted');
  const open = () =>
    new Promise<number>((resolve, reject) =>
      server.getConnections((error, count) => (error ? reject(error) : resolve(count))),
    );
  await vi.waitFor(async () => expect(await open()).toBe(0), { timeout: 30_000 });
});

function unbound(nonce: string): string {
  return createPresenceProof({
    key,
    challenge: { nonce, path: `/${nonce}` },
    broker: PUBLIC_URL,
    codespaceName: alice.name,
    expiresAt: Math.floor(Date.now() / 1000) + 60,
  });
}
