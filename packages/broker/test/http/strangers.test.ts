/** Limits on unauthenticated clients: real sockets, from several addresses of the loopback network. */
import { readFileSync } from 'node:fs';
import { Agent } from 'node:https';
import { connect, type Socket } from 'node:net';
import { join } from 'node:path';
import { connect as tlsConnect } from 'node:tls';
import { SESSION_TOKEN_TYPE } from '@meshpass/identity';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { createConnections } from '../../src/http/connections.ts';
import { createWorld } from '../attest/world.ts';
import {
  asSession,
  dpop,
  type Enrolled,
  EXCHANGE,
  enrol,
  FORM,
  form,
  type Harness,
  type HarnessOptions,
  newKey,
  renewLease,
  send,
  session,
  startHarness,
} from '../harness/broker.ts';
import { present } from '../harness/github.ts';
import { grant } from '../harness/mesh.ts';

const STRANGER = '127.0.0.2';
const NEIGHBOUR = '127.0.0.3';

let ends: (() => unknown)[] = [];
afterEach(async () => {
  for (const end of ends.reverse()) await end();
  ends = [];
});

async function broker(config: HarnessOptions['config'] = {}): Promise<Harness> {
  const harness = await startHarness({ config });
  ends.push(() => harness.stop());
  harness.mesh.setAccess([grant('dev')]);
  return harness;
}

/** Calls the broker from another address, each time over a new connection. */
function from(harness: Harness, localAddress: string): Harness {
  const agent = new Agent({ ca: readFileSync(join(harness.dir, 'tls.crt')), localAddress });
  return { ...harness, call: (call) => send(agent, harness.broker.port, call) };
}

const HEAD = 'POST /token HTTP/1.1\r\nHost: broker.example\r\n';
/** Ways in which a client begins and then sends nothing more. */
const SILENT: readonly ((harness: Harness) => string | undefined)[] = [
  () => undefined,
  () => '',
  () => HEAD,
  () => `${HEAD}Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 100\r\n\r\ngrant_type=`,
  (harness) =>
    `${HEAD}Content-Type: application/x-www-form-urlencoded\r\nDPoP: ${dpop({ key: newKey(), now: harness.now() })}\r\n` +
    'Content-Length: 100\r\n\r\ngrant_type=',
];

/** @param said undefined: not even a TLS handshake */
async function hold(harness: Harness, said: string | undefined, localAddress = STRANGER): Promise<Socket> {
  const raw = connect({ host: '127.0.0.1', port: harness.broker.port, localAddress });
  raw.on('error', () => {});
  ends.push(() => raw.destroy());
  await new Promise((resolve) => raw.once('connect', resolve).once('close', resolve));
  if (said === undefined) return raw;
  const tls = tlsConnect({ socket: raw, rejectUnauthorized: false });
  tls.on('error', () => {});
  await new Promise((resolve) => tls.once('secureConnect', resolve).once('close', resolve));
  if (!tls.destroyed) tls.write(said);
  tls.resume();
  return raw;
}

const renew = (harness: Harness, who: Enrolled) =>
  asSession(harness, who, {
    method: 'POST',
    path: '/token',
    headers: FORM,
    body: form({
      grant_type: EXCHANGE,
      subject_token: who.access_token,
      subject_token_type: SESSION_TOKEN_TYPE,
    }),
  });

describe('600 sockets of a stranger that say nothing, or stop in the middle', () => {
  it('keep no client from enrolling or renewing, even behind the same address', async () => {
    const harness = await broker();
    const alice = await session(harness, 'alice');
    // The last kind is the worst: it has proven a key, and its body never ends.
    for (let round = 0; round < 20; round++)
      await Promise.all(Array.from({ length: 30 }, (_, n) => hold(harness, SILENT[Math.min(n, 4)]!(harness))));
    for (const address of [NEIGHBOUR, STRANGER]) {
      const there = from(harness, address);
      expect((await enrol(there, `from-${address}`)).status).toBe(200);
      const renewed = await renew(there, alice);
      expect(renewed.status, renewed.text).toBe(200);
      expect((await renewLease(there, alice)).kind).toBe('lease');
    }
  });

  it('are closed within seconds: handshake, header or body that does not come', async () => {
    const harness = await broker();
    const held = await Promise.all(SILENT.map((said) => hold(harness, said(harness))));
    await vi.waitFor(
      () => expect(held.map((socket) => socket.destroyed || socket.readableEnded)).not.toContain(false),
      {
        timeout: 60_000,
        interval: 100,
      },
    );
  });
});

describe('a source of more connections than one may have', () => {
  it('loses its oldest silent ones; its new ones, its session and its neighbours are served', async () => {
    const harness = await broker({ maxStrangersPerSource: 10 });
    const there = from(harness, STRANGER);
    const alice = await session(there, 'alice');
    const kept = new Agent({
      ca: readFileSync(join(harness.dir, 'tls.crt')),
      localAddress: STRANGER,
      keepAlive: true,
      maxSockets: 1,
    });
    ends.push(() => kept.destroy());
    const overOne: Harness = { ...harness, call: (call) => send(kept, harness.broker.port, call) };
    const beat = (by: Harness) => renewLease(by, alice);
    expect((await beat(overOne)).kind).toBe('lease');
    const neighbour = await hold(harness, '', NEIGHBOUR);
    const held: Socket[] = [];
    for (let n = 0; n < 30; n++) held.push(await hold(harness, n % 2 ? '' : undefined));
    await vi.waitFor(() => expect(held.slice(0, 20).map((socket) => socket.destroyed)).not.toContain(false), {
      timeout: 60_000,
    });
    expect(held.slice(20).map((socket) => socket.destroyed)).not.toContain(true);
    expect(neighbour.destroyed).toBe(false);
    const connections = Object.values(kept.freeSockets).flat();
    expect((await beat(overOne)).kind).toBe('lease');
    expect(Object.values(kept.freeSockets).flat()).toEqual(connections);
    expect((await beat(there)).kind).toBe('lease');
    expect((await enrol(there, 'bob')).status).toBe(200);
  });

  it('takes no more than its share of the places for enrolments, and none of those for renewals', async () => {
    const harness = await broker({ maxExchanges: 3, maxExchangesPerSource: 2 });
    const alice = await session(harness, 'alice');
    let release = () => {};
    const held = new Promise<void>((resolve) => {
      release = resolve;
    });
    let waiting = 0;
    harness.idp.before = () => {
      waiting++;
      return held;
    };
    const stranger = from(harness, STRANGER);
    const slow = [enrol(stranger, 'slow-1'), enrol(stranger, 'slow-2')];
    await vi.waitFor(() => expect(waiting).toBe(2), { timeout: 60_000 });
    expect((await enrol(stranger, 'slow-3')).json).toMatchObject({ error_code: 'overloaded' });
    const other = enrol(from(harness, NEIGHBOUR), 'other');
    await vi.waitFor(() => expect(waiting).toBe(3), { timeout: 60_000 });
    expect((await enrol(harness, 'beyond all places')).json).toMatchObject({ error_code: 'overloaded' });
    expect((await renew(stranger, alice)).status).toBe(200);
    release();
    expect((await Promise.all([...slow, other])).map(({ status }) => status)).toEqual([200, 200, 200]);
  });
});

describe('invented tokens of Codespaces without end', () => {
  it('occupy no places: the neighbours enrol even if GitHub is slow', async () => {
    const world = await createWorld();
    ends.push(() => world.close());
    const attest = world.attest({
      presence: 'off',
      beforeGithub: () => new Promise((resolve) => setTimeout(resolve, 400)),
    });
    const harness = await startHarness({ parts: () => ({ attest }) });
    ends.push(() => harness.stop());
    harness.mesh.setAccess([grant('dev')], [], { codespaces: { organization: 'acme' } });
    const space = await world.github.admin.createCodespace({ owner: 'bob', repository: 'acme/orders' });
    await world.github.admin.forgetCalls();
    const codes = new Set<string>();
    let isOver = false;
    const began = performance.now();
    const flood = [1, 2, 3, 4].map((host) => {
      const stranger = from(harness, `127.0.2.${host}`);
      return Promise.all(
        Array.from({ length: 40 }, async (_, line) => {
          for (let n = 0; !isOver; n++) {
            const token = `ghu_${host}x${line}x${n}`;
            codes.add((await present(stranger, { token, name: 'any' })).json.error_code);
          }
        }),
      );
    });
    await vi.waitFor(() => expect(codes).toContain('too_many_attempts'), { timeout: 60_000 });
    for (let n = 0; n < 5; n++) {
      const answer = await present(from(harness, NEIGHBOUR), space);
      expect(answer.status, answer.text).toBe(200);
    }
    isOver = true;
    await Promise.all(flood);
    expect([...codes].sort()).toEqual(['proof_rejected', 'too_many_attempts']);
    const asked = (await world.github.admin.calls()).filter((call) => call === 'GET /user');
    // The limit is a burst of a hundred, and one more each second.
    expect(asked.length).toBeLessThan(110 + (performance.now() - began) / 1000);
  });
});

describe('a body that is too slow', () => {
  it('is answered, counted as refused, and its connection closed', async () => {
    const harness = await broker();
    const raw = tlsConnect({ host: '127.0.0.1', port: harness.broker.port, rejectUnauthorized: false });
    let answer = '';
    raw.on('data', (chunk: Buffer) => (answer += chunk)).on('error', () => {});
    raw.write(SILENT[4]!(harness)!);
    const dribble = setInterval(() => raw.write('x'), 500);
    await new Promise((resolve) => raw.once('close', resolve));
    clearInterval(dribble);
    expect(answer).toMatch(/^HTTP\/1\.1 408 /);
    expect(answer).toContain('"error_code":"request_timeout"');
  });
});

describe('a source', () => {
  it('that is a trusted proxy is not counted: it bounds its own clients', () => {
    const connections = createConnections({ perSource: 1, trustedProxies: ['10.0.0.1'] });
    const destroyed: string[] = [];
    const socket = (remoteAddress: string) =>
      ({ remoteAddress, once: () => {}, resetAndDestroy: () => destroyed.push(remoteAddress) }) as never;
    for (const address of ['10.0.0.1', '10.0.0.1', '192.0.2.1', '192.0.2.1', '192.0.2.2'])
      connections.add(socket(address));
    expect(destroyed).toEqual(['192.0.2.1']);
    expect(connections.strangers()).toBe(2);
  });

  it('keep their place while sessions behind the same address ask, and get a connection back that proved nothing', () => {
    const connections = createConnections({ perSource: 2, trustedProxies: [] });
    const destroyed: string[] = [];
    const socket = (name: string) =>
      ({ remoteAddress: '192.0.2.1', once: () => {}, resetAndDestroy: () => destroyed.push(name) }) as never;
    const owned = Array.from({ length: 50 }, (_, n) => socket(`session ${n}`));
    for (const [n, one] of owned.entries()) {
      connections.add(one);
      connections.belongs(one, `session ${n}`);
    }
    for (const name of ['stranger', 'another']) connections.add(socket(name));
    const answered = owned.map((one) => connections.began(one));
    expect(destroyed).toEqual([]);
    for (const [n, one] of owned.entries()) if (n > 0) connections.belongs(one, `session ${n}`);
    for (const done of answered) done();
    // The first presented no proof, so its connection counts as a stranger's again, and as the newest.
    expect(destroyed).toEqual(['stranger']);
    expect(connections.strangers()).toBe(2);
  });
});
