import { readFileSync } from 'node:fs';
import { Agent, get as httpsGet, request as httpsRequest } from 'node:https';
import { connect } from 'node:net';
import { join } from 'node:path';
import { type TLSSocket, connect as tlsConnect } from 'node:tls';
import { EdgeEvent } from '@meshpass/identity/channel';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { createSourceReader } from '../../src/http/source-address.ts';
import {
  asSession,
  enrol,
  type Harness,
  leaseCall,
  newKey,
  renewLease,
  send,
  session,
  startHarness,
} from '../harness/broker.ts';
import { grant } from '../harness/mesh.ts';

describe('a broker that keeps few connections', () => {
  let harness: Harness;
  beforeAll(async () => {
    harness = await startHarness({ config: { keptConnections: 1 } });
    harness.mesh.setAccess([grant('dev')]);
  });
  afterAll(() => harness.stop());

  it('closes what it has answered beyond them, keeps the rest, and the session continues over a resumed handshake', async () => {
    const alice = await session(harness, 'alice');
    const other = new Agent({ ca: readFileSync(join(harness.dir, 'tls.crt')), keepAlive: true, maxSockets: 1 });
    const crowding: Harness = { ...harness, call: (call) => send(other, harness.broker.port, call) };
    const heard = new Set<TLSSocket>();
    const resumed: boolean[] = [];
    other.on('keylog', (_line, socket: TLSSocket) => {
      if (!heard.has(socket)) socket.once('secureConnect', () => resumed.push(socket.isSessionReused()));
      heard.add(socket);
    });
    const beat = async (by: Harness) => {
      const { status, headers } = await by.call(leaseCall(alice, harness.now() * 1000));
      return [status, headers.connection];
    };
    try {
      for (let round = 1; round <= 2; round++) {
        expect(await beat(crowding)).toEqual([200, 'close']);
        await vi.waitFor(() => expect([...heard].map((socket) => socket.destroyed)).toEqual(Array(round).fill(true)), {
          timeout: 60_000,
        });
      }
      expect(resumed).toEqual([false, true]);
      // The broker sees the end of a connection a moment after its client.
      await vi.waitFor(async () => expect(await beat(harness)).toEqual([200, 'keep-alive']), 60_000);
    } finally {
      other.destroy();
    }
  });
});

describe('the broker as a server', () => {
  let harness: Harness;
  const ca = () => readFileSync(join(harness.dir, 'tls.crt'));
  beforeAll(async () => {
    harness = await startHarness({ config: { maxExchanges: 2 } });
    harness.mesh.setAccess([grant('dev')]);
  });
  afterAll(() => harness.stop());

  it('is ready when store and mesh are, and otherwise states why not', async () => {
    expect((await harness.operatorCall('/healthz')).status).toBe(200);
    expect((await harness.operatorCall('/readyz')).json).toEqual({
      status: 'ready',
      reasons: [],
      warnings: [],
      break_glass: true,
    });
    harness.mesh.notReady = ['istiod does not answer'];
    const answer = await harness.operatorCall('/readyz');
    expect([answer.status, answer.json.reasons]).toEqual([503, ['istiod does not answer']]);
    harness.mesh.notReady = [];
  });

  it('shows no operator pages to the internet', async () => {
    for (const path of ['/healthz', '/readyz', '/metrics']) expect((await harness.call({ path })).status).toBe(404);
  });

  it('counts decisions by outcome and code', async () => {
    await session(harness, 'counted');
    await harness.call({ path: '/services' });
    const { text } = await harness.operatorCall('/metrics');
    expect(text).toMatch(/meshpass_decisions_total\{action="session.open",outcome="allowed",code=""\} [1-9]/);
    expect(text).toMatch(/code="session_token_missing"\} [1-9]/);
    expect(text).toMatch(/meshpass_http_request_seconds_count\{route="\/token",status="200"\} [1-9]/);
    expect(text).toMatch(/meshpass_sessions_live [1-9]/);
  });

  it('speaks TLS 1.2 or later only', async () => {
    const old = tlsConnect({
      host: '127.0.0.1',
      port: harness.broker.port,
      ca: ca(),
      maxVersion: 'TLSv1.1',
      minVersion: 'TLSv1',
    });
    await expect(
      new Promise((resolve, reject) => old.once('secureConnect', resolve).once('error', reject)),
    ).rejects.toThrow();
  });

  it('refuses more exchanges at once than it is configured for', async () => {
    let release = () => {};
    const held = new Promise<void>((resolve) => {
      release = resolve;
    });
    let waiting = 0;
    harness.idp.before = () => {
      waiting++;
      return held;
    };
    const slow = [enrol(harness, 'slow-1'), enrol(harness, 'slow-2')];
    await vi.waitFor(() => expect(waiting).toBe(2), { timeout: 60_000 });
    const answer = await enrol(harness, 'third');
    expect([answer.status, answer.json.error_code]).toEqual([503, 'overloaded']);
    expect(answer.json.error).toBe('temporarily_unavailable');
    expect(answer.headers['retry-after']).toBe('2');
    release();
    harness.idp.before = async () => {};
    expect((await Promise.all(slow)).map((answer) => answer.status)).toEqual([200, 200]);
  });

  it('does not show strangers internal errors', async () => {
    harness.idp.before = async () => {
      throw new Error('secret detail of the inside');
    };
    const answer = await enrol(harness, 'alice');
    harness.idp.before = async () => {};
    expect(answer.status).toBe(500);
    expect(answer.json).toMatchObject({ error: 'server_error', error_code: 'internal' });
    expect(answer.text).not.toContain('secret detail');
    expect(harness.log.join('')).toContain('secret detail');
  });

  const openStream = (token: string) => {
    const lines: string[] = [];
    const headers = { authorization: `Bearer ${token}` };
    const sent = httpsGet({
      host: '127.0.0.1',
      port: harness.broker.port,
      ca: ca(),
      path: '/edge/stream',
      headers,
      agent: false,
    });
    const opened = new Promise<number>((resolve) => {
      sent.on('response', (response) => {
        let rest = '';
        response.on('data', (chunk: Buffer) => {
          const parts = (rest + chunk).split('\n');
          rest = parts.pop() ?? '';
          lines.push(...parts);
        });
        response.on('error', () => {});
        resolve(response.statusCode!);
      });
      sent.on('error', () => {});
    });
    const events = () => lines.map((line) => EdgeEvent.parse(JSON.parse(line)));
    return { opened, events, close: () => sent.destroy() };
  };

  it('feeds an edge: a snapshot, each change, and a beat', async () => {
    const before = await session(harness, 'before');
    const stream = openStream('edge-token');
    expect(await stream.opened).toBe(200);
    const after = await session(harness, 'after');
    await asSession(harness, before, { method: 'DELETE', path: '/session' });
    await vi.waitFor(() => expect(stream.events().some((event) => event.type === 'beat')).toBe(true), {
      timeout: 60_000,
    });
    const [first, ...rest] = stream.events();
    expect(first?.type === 'snapshot' && first.sessions.map((one) => one.id)).toContain(before.session.id);
    expect(rest.find((event) => event.type === 'admit')).toMatchObject({
      session: {
        id: after.session.id,
        principals: [{ targets: [{ host: 'orders.shop.svc.cluster.local', port: 8080 }] }],
      },
    });
    expect(rest).toContainEqual({ type: 'close', id: before.session.id, reason: 'its agent ended it' });
    stream.close();
  });

  it('feeds nobody else', async () => {
    const stream = openStream('another-token');
    expect(await stream.opened).toBe(401);
    const answer = await harness.call({ path: '/edge/stream' });
    expect([answer.status, answer.json.error_code]).toEqual([401, 'edge_unauthorized']);
    const report = await harness.call({ method: 'POST', path: '/edge/decisions', body: '{"decisions":[]}' });
    expect([report.status, report.json.error_code]).toEqual([401, 'edge_unauthorized']);
  });

  it('finishes requests in progress when it stops, and makes them durable', async () => {
    let release = () => {};
    let began = () => {};
    const attesting = new Promise<void>((resolve) => {
      began = resolve;
    });
    const held = new Promise<void>((resolve) => {
      release = resolve;
    });
    harness.idp.before = () => {
      began();
      return held;
    };
    const key = newKey();
    const pending = enrol(harness, 'last', key);
    await attesting;
    const closed = harness.broker.close();
    release();
    const answer = await pending;
    expect(answer.status).toBe(200);
    await closed;
    harness.idp.before = async () => {};
    const refused = new Promise((_resolve, reject) => connect(harness.broker.port, '127.0.0.1').on('error', reject));
    await expect(refused).rejects.toThrow('ECONNREFUSED');
    await harness.restart();
    expect((await renewLease(harness, { ...answer.json, key })).kind).toBe('lease');
  });

  it('answers a client that sends its body and goes without harm', async () => {
    const sent = httpsRequest({
      host: '127.0.0.1',
      port: harness.broker.port,
      ca: ca(),
      method: 'POST',
      path: '/token',
      agent: false,
    });
    sent.on('error', () => {});
    sent.write('grant_type=');
    await new Promise((resolve) => setTimeout(resolve, 50));
    sent.destroy();
    expect((await harness.operatorCall('/healthz')).status).toBe(200);
  });
});

describe('sourceReader', () => {
  const from = (peer: string, forwarded?: string) =>
    ({ socket: { remoteAddress: peer }, headers: forwarded ? { 'x-forwarded-for': forwarded } : {} }) as never;

  it('believes nobody by default', () => {
    expect(createSourceReader([])(from('::ffff:192.0.2.7', '203.0.113.1'))).toBe('192.0.2.7');
  });

  it('believes configured proxies, from the right', () => {
    const read = createSourceReader(['10.0.0.0/8', '2001:db8::/32']);
    expect(read(from('10.1.1.1', '198.51.100.9, 203.0.113.1, 10.2.2.2'))).toBe('203.0.113.1');
    expect(read(from('2001:db8::1', '203.0.113.1'))).toBe('203.0.113.1');
    expect(read(from('10.1.1.1', 'nonsense'))).toBe('10.1.1.1');
    expect(read(from('192.0.2.7', '203.0.113.1'))).toBe('192.0.2.7');
  });

  it('refuses an invalid CIDR block', () => {
    expect(() => createSourceReader(['10.0.0.0/99'])).toThrow('10.0.0.0/99');
    expect(() => createSourceReader(['example.com'])).toThrow('example.com');
  });
});
