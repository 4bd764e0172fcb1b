/** A token and a name are not enough: a client with a Codespace's proof must answer from within the Codespace. */
import type { RequestListener } from 'node:http';
import { createPresenceProof, dpopThumbprint, type MeshpassError } from '@meshpass/identity';
import type { PresenceChallenge } from '@meshpass/identity/wire';
import type { StartedCodespace } from '@meshpass/lab/github/admin-client';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import type { Attestor } from '../../../src/attest/attest.ts';
import { newKey, PUBLIC_URL } from '../../harness/broker.ts';
import { createWorld, presentCodespace, refusal, type World } from '../world.ts';
import { loopbackServers } from './loopback-servers.ts';

let world: World;
let alice: StartedCodespace;
const started = loopbackServers();

beforeAll(async () => {
  world = await createWorld();
});
afterAll(() => world.close());
beforeEach(async () => {
  await world.github.admin.reset();
  alice = await world.github.admin.createCodespace({ owner: 'alice', repository: 'acme/payments-api' });
});

const source = '192.0.2.1';
const proofOf = (space: { name: string; token: string }) =>
  ({ type: 'github-codespace', token: space.token, codespaceName: space.name }) as const;
const inSeconds = (seconds: number) => Math.floor(Date.now() / 1000) + seconds;

/** An application on a port of the Codespace, which is loopback here. */
async function serve(listener: RequestListener): Promise<number> {
  return (await started(listener)).port;
}

/** The first exchange. */
async function challenged(attest: Attestor, space: { name: string; token: string }, key = newKey()) {
  const jkt = dpopThumbprint(key.jwk);
  const error = await attest(proofOf(space), { jkt, source }).catch((thrown: unknown) => thrown);
  expect(error).toMatchObject({ code: 'presence_required', status: 400 });
  const challenge = (error as MeshpassError).members.presence as PresenceChallenge;
  const answer = (changes: Partial<Parameters<typeof createPresenceProof>[0]> = {}) =>
    createPresenceProof({
      key,
      challenge,
      broker: PUBLIC_URL,
      codespaceName: space.name,
      expiresAt: inSeconds(60),
      ...changes,
    });
  const finish = async (port: number, nonce = challenge.nonce) =>
    await attest(proofOf(space), { jkt, source, presence: { nonce, port } });
  return { challenge, answer, finish, jkt };
}

/** The second exchange, with an application that answers every request with this. */
async function answeredWith(
  body: string | ((first: Awaited<ReturnType<typeof challenged>>) => string),
  attest = world.attest(),
) {
  const first = await challenged(attest, alice);
  const port = await serve((_, response) => response.end(typeof body === 'string' ? body : body(first)));
  return await refusal(first.finish(port));
}

describe('a developer in the Codespace', () => {
  test('gets in at once, even if the organisation had none of theirs a moment ago', async () => {
    const attest = world.attest();
    await world.github.admin.setCodespaceState(alice.name, 'Deleted');
    expect((await refusal(presentCodespace(attest, alice))).code).toBe('workspace_unknown');
    const first = await world.github.admin.createCodespace({ owner: 'alice', repository: 'acme/payments-api' });
    expect((await presentCodespace(attest, first)).presence).toBe('answered');
  });

  test('gets in, with the kind of proof in the audit log', async () => {
    const { attestation, presence } = await presentCodespace(world.attest(), alice);
    expect(presence).toBe('answered');
    expect(attestation.workspace.key).toBe(`codespace:${alice.id}`);
    const forwarded = await world.github.admin.forwarded();
    expect(forwarded).toHaveLength(1);
    expect(forwarded[0]).toMatch(new RegExp(`^GET ${alice.name}-\\d+\\.app\\.github\\.dev/[\\w-]{43}$`));
    expect(JSON.stringify(attestation)).not.toContain(alice.token);
  });

  test('is asked even if its own token reads the Codespace', async () => {
    const space = { owner: 'alice', repository: 'acme/payments-api', tokenReadsCodespaces: true };
    const readable = await world.github.admin.createCodespace(space);
    await challenged(world.attest(), readable);
    expect((await presentCodespace(world.attest(), readable)).presence).toBe('answered');
  });

  test('is not asked if presence is off', async () => {
    expect((await presentCodespace(world.attest({ presence: 'off' }), alice)).presence).toBe('not_asked');
    expect(await world.github.admin.forwarded()).toEqual([]);
  });

  test('is not asked about teams before they have answered', async () => {
    await challenged(world.attest(), alice);
    expect((await world.github.admin.calls()).filter((call) => call.includes('/teams/'))).toEqual([]);
  });
});

describe('what answers on the port is refused if it is', () => {
  const wrong: [string, Parameters<typeof answeredWith>[0]][] = [
    ['an application that says hello', 'hello'],
    ['nothing', ''],
    ['signed with another key', ({ answer }) => answer({ key: newKey() })],
    ['made for another broker', ({ answer }) => answer({ broker: 'https://evil.example' })],
    ['made for this broker with a slash', ({ answer }) => answer({ broker: `${PUBLIC_URL}/` })],
    ['made in another Codespace', ({ answer }) => answer({ codespaceName: 'another-space' })],
    [
      'made for another nonce',
      ({ answer, challenge }) => answer({ challenge: { ...challenge, nonce: 'a'.repeat(43) } }),
    ],
    ['made for another path', ({ answer, challenge }) => answer({ challenge: { ...challenge, path: '/other' } })],
    ['expired', ({ answer }) => answer({ expiresAt: inSeconds(-90) })],
    ['valid for a day', ({ answer }) => answer({ expiresAt: inSeconds(86_400) })],
    ['a DPoP proof', ({ answer }) => reheaded(answer(), { typ: 'dpop+jwt' })],
    ['unsigned', ({ answer }) => `${reheaded(answer(), { alg: 'none' }).split('.').slice(0, 2).join('.')}.`],
    ['of another algorithm', ({ answer }) => reheaded(answer(), { alg: 'HS256' })],
    ['with a critical extension', ({ answer }) => reheaded(answer(), { crit: ['exp'] })],
    ['with one bit changed', ({ answer }) => flipped(answer())],
    ['followed by a line', ({ answer }) => `${answer()}\n`],
    ['followed by 5000 bytes', ({ answer }) => answer() + 'a'.repeat(5000)],
    ['in a page', ({ answer }) => `<html>${answer()}</html>`],
  ];
  test.each(wrong)('%s', async (_, body) => {
    expect(await answeredWith(body)).toMatchObject({ code: 'presence_mismatch', status: 400 });
  });

  test('an application that echoes the request', async () => {
    const first = await challenged(world.attest(), alice);
    const port = await serve((request, response) => {
      response.end(`${request.method} ${request.url}\n${JSON.stringify(request.headers)}`);
    });
    expect((await refusal(first.finish(port))).code).toBe('presence_mismatch');
  });

  test('signed with the key of the listener, when another presents the proof', async () => {
    const attest = world.attest();
    const thief = await challenged(attest, alice);
    // The real agent answers any challenge, with its own key.
    const port = await serve((_, response) => response.end(thief.answer({ key: newKey() })));
    expect((await refusal(thief.finish(port))).text).toContain('a different key');
  });
});

describe('the broker refuses if no answer arrives', () => {
  test.each([
    ['404', 404],
    ['401', 401],
    ['500', 500],
    ['204', 204],
    ['206', 206],
  ])('status %s', async (_, status) => {
    const first = await challenged(world.attest(), alice);
    const port = await serve((_request, response) => response.writeHead(status).end());
    expect((await refusal(first.finish(port))).code).toBe('presence_unanswered');
  });

  test('a redirect is not followed, so that the token goes nowhere', async () => {
    const seen: unknown[] = [];
    const elsewhere = await serve((request, response) => {
      seen.push(request.url);
      response.end();
    });
    const first = await challenged(world.attest(), alice);
    const location = `http://127.0.0.1:${elsewhere}/`;
    const port = await serve((_, response) => response.writeHead(307, { location }).end());
    expect((await refusal(first.finish(port))).code).toBe('presence_unanswered');
    expect(seen).toEqual([]);
  });

  test('one that never ends', async () => {
    const first = await challenged(world.attest({ timeoutMs: 500 }), alice);
    const port = await serve((_, response) => void response.writeHead(200).write('a'));
    expect((await refusal(first.finish(port))).code).toBe('presence_unanswered');
  });

  test('a port on which nothing listens, and one that is not forwarded', async () => {
    const attest = world.attest();
    const port = await closedPort();
    expect((await refusal((await challenged(attest, alice)).finish(port))).code).toBe('presence_unanswered');
    await world.github.admin.setForwardingFault('sign-in');
    const { code, text } = await refusal((await challenged(attest, alice)).finish(port));
    expect(code).toBe('presence_unanswered');
    expect(text).toContain('302');
    expect(text).not.toContain(alice.token);
  });

  test.each([22, 80, 1023, 65_536, -1, 1.5, Number.NaN])('port %d is never asked for', async (port) => {
    expect((await refusal((await challenged(world.attest(), alice)).finish(port))).code).toBe('presence_unanswered');
    expect(await world.github.admin.forwarded()).toEqual([]);
  });
});

describe('a forwarding host that cannot be reached', () => {
  test('refuses, and asks to retry', async () => {
    const first = await challenged(world.attest({ forwardingPort: await closedPort() }), alice);
    expect(await refusal(first.finish(4000))).toMatchObject({ code: 'presence_unreachable', status: 503 });
  });

  test('lets in where presence is only preferred, and the audit log is told', async () => {
    const attest = world.attest({ presence: 'preferred', forwardingPort: await closedPort() });
    expect((await (await challenged(attest, alice)).finish(4000)).presence).toBe('unreachable');
  });

  test('is no excuse for a wrong answer, or none', async () => {
    const attest = world.attest({ presence: 'preferred', timeoutMs: 500 });
    expect((await answeredWith('hello', attest)).code).toBe('presence_mismatch');
    const first = await challenged(attest, alice);
    expect((await refusal(first.finish(await serve(() => {})))).code).toBe('presence_unanswered');
  });
});

describe('a challenge', () => {
  test('is good for one try', async () => {
    const attest = world.attest();
    const first = await challenged(attest, alice);
    const port = await serve((_, response) => response.end(first.answer()));
    expect((await first.finish(port)).presence).toBe('answered');
    expect((await refusal(first.finish(port))).code).toBe('presence_challenge_unknown');
  });

  test('is also spent by a wrong answer', async () => {
    const first = await challenged(world.attest(), alice);
    const wrong = await serve((_, response) => response.end('hello'));
    expect((await refusal(first.finish(wrong))).code).toBe('presence_mismatch');
    const right = await serve((_, response) => response.end(first.answer()));
    expect((await refusal(first.finish(right))).code).toBe('presence_challenge_unknown');
  });

  test('is of its key, its Codespace and its broker', async () => {
    const attest = world.attest();
    const one = await challenged(attest, alice);
    const other = await challenged(attest, alice);
    const port = await serve((_, response) => response.end(one.answer()));
    expect((await refusal(other.finish(port, one.challenge.nonce))).code).toBe('presence_challenge_unknown');

    const second = await world.github.admin.createCodespace({ owner: 'alice', repository: 'acme/payments-api' });
    const key = newKey();
    const here = await challenged(attest, alice, key);
    const there = await challenged(attest, second, key);
    expect((await refusal(there.finish(port, here.challenge.nonce))).code).toBe('presence_challenge_unknown');

    const elsewhere = await challenged(world.attest(), alice, key);
    const again = await challenged(attest, alice, key);
    expect((await refusal(elsewhere.finish(port, again.challenge.nonce))).code).toBe('presence_challenge_unknown');
  });

  test('dies after a minute', async () => {
    let now = Date.now();
    const first = await challenged(world.attest({ clock: () => now }), alice);
    const port = await serve((_, response) => response.end(first.answer()));
    now += 61_000;
    expect((await refusal(first.finish(port))).code).toBe('presence_challenge_unknown');
  });
});

/** Nothing listens there any more. */
async function closedPort(): Promise<number> {
  const { server, port } = await started((_, response) => response.end());
  await new Promise((resolve) => server.close(resolve));
  return port;
}

function reheaded(jws: string, changes: object): string {
  const [header, ...rest] = jws.split('.');
  const changed = { ...JSON.parse(Buffer.from(header!, 'base64url').toString()), ...changes };
  return [Buffer.from(JSON.stringify(changed)).toString('base64url'), ...rest].join('.');
}

function flipped(jws: string): string {
  const [header, claims, signature] = jws.split('.');
  const bytes = Buffer.from(signature!, 'base64url');
  bytes[10]! ^= 1;
  return `${header}.${claims}.${bytes.toString('base64url')}`;
}
