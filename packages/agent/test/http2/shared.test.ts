/** Requests of several HTTP/1.1 clients over one HTTP/2 connection, through a whole agent, to Node's own HTTP/2 server. */
import { Agent } from 'node:http';
import { describe, expect, test } from 'vitest';
import { service } from '../harness.ts';
import { afterThisTest } from '../world.ts';
import { connectionsOf, everything, open, underWay, workload } from './shared-workload.ts';

describe('requests that are under way together', () => {
  test('share one HTTP/2 connection; one alone has an HTTP/1.1 connection of its own', async () => {
    const { w, echo } = await workload();
    for (let n = 0; n < 5; n++) expect((await echo('/alone')).version).toBe('1.1');
    expect(connectionsOf(w)).toBe(0);
    const held = await underWay(w, echo);
    const before = w.workload.seen.length;
    const answers = await Promise.all(Array.from({ length: 200 }, (_, n) => echo(`/orders/${n}?q=${n}`)));
    for (const [n, answer] of answers.entries()) {
      expect(answer).toMatchObject({ version: '2.0', method: 'GET', url: `/orders/${n}?q=${n}` });
      expect(answer.headers['x-meshpass-token']).toMatch(/^head\.token\d+\.sig$/);
    }
    expect(connectionsOf(w)).toBe(1);
    expect(w.workload.seen.length).toBeLessThanOrEqual(before + 100); // at most 100 streams at once: the rest as before
    held.resetAndDestroy();
    await expect.poll(async () => (await echo('/alone')).version).toBe('1.1');
  });

  test('that come all at once wait for it rather than open one each', async () => {
    const { w, echo } = await workload();
    const agent = new Agent({ keepAlive: true, maxSockets: 60 });
    afterThisTest(() => agent.destroy());
    const before = w.workload.seen.length;
    const answers = await Promise.all(Array.from({ length: 60 }, (_, n) => echo(`/${n}`, { agent })));
    expect(answers.map(({ url }) => url)).toEqual(Array.from({ length: 60 }, (_, n) => `/${n}`));
    expect(w.workload.seen.length - before).toBeLessThanOrEqual(4);
  });

  test('show the workload the same request', async () => {
    const { w, echo } = await workload();
    const how = {
      method: 'POST',
      headers: {
        ...{ Accept: '*/*', 'X-Tab': 'a\tb', Cookie: 'a=1; b=2', Authorization: 'Bearer own', 'X-Empty': '' },
        ...{ 'x-twice': ['1', '2'], 'content-type': 'text/plain', 'X-Meshpass-Token': 'forged' },
      },
      body: 'four',
    };
    const path = "/orders/%2e%2E/a;b=c//d?x=%00&y=%5b%5D&z='(~!*$)";
    const plain = await echo(path, how);
    const held = await underWay(w, echo);
    const shared = await echo(path, how);
    held.destroy();
    expect([plain.version, shared.version]).toEqual(['1.1', '2.0']);
    const { host, connection: _, ...rest } = plain.headers;
    const { ':authority': authority, ':method': method, ':path': sent, ':scheme': scheme, ...fields } = shared.headers;
    expect(fields).toEqual(rest);
    expect([authority, method, sent, scheme]).toEqual([host, 'POST', path, 'https']);
    expect(shared.body).toBe('four');
  });

  test('are answered in their order where a client sends several at once', async () => {
    const { w, echo } = await workload();
    await underWay(w, echo);
    const socket = open(w);
    const get = (n: number) => `GET /orders/${n} HTTP/1.1\r\nHost: orders.shop\r\n\r\n`;
    const post = 'POST /orders/3 HTTP/1.1\r\nHost: orders.shop\r\nContent-Length: 4\r\n\r\nbody';
    socket.write(get(1) + get(2) + post + get(4).replace('\r\n\r\n', '\r\nConnection: close\r\n\r\n'));
    const { text, cut } = await everything(socket);
    expect(text.match(/"url":"[^"]*"/g)).toEqual([1, 2, 3, 4].map((n) => `"url":"/orders/${n}"`));
    expect(text.match(/"version":"2.0"/g)).toHaveLength(4);
    expect(text.match(/connection: close/g)).toHaveLength(1);
    expect(cut).toBe(false);
  });

  test('of two grants never share', async () => {
    const other = service({ grant: 'ledger-dev', port: 9090 });
    const { w, echo } = await workload(undefined, { services: [service(), other] });
    await underWay(w, echo, 8080);
    await underWay(w, echo, 9090);
    const shared = w.workload.seen.filter(({ alpn }) => alpn === 'istio-h2');
    expect(shared.map(({ servername, peer }) => [servername, peer]).sort()).toEqual([
      [
        'outbound_.8080_._.orders.shop.svc.cluster.local',
        'URI:spiffe://cluster.local/ns/meshpass-payments-dev/sa/octocat-1',
      ],
      [
        'outbound_.9090_._.orders.shop.svc.cluster.local',
        'URI:spiffe://cluster.local/ns/meshpass-ledger-dev/sa/octocat-1',
      ],
    ]);
  });

  test('stay apart from a service that does not speak HTTP/2', async () => {
    const { w, echo } = await workload();
    const { server } = w.workload;
    server.setSecureContext({}); // the handshake with h2 now fails for want of a certificate
    const socket = open(w);
    socket.write('GET /hold HTTP/1.1\r\nHost: orders.shop\r\n\r\n');
    await expect.poll(() => socket.bytesRead).toBeGreaterThan(0);
    const answers = await Promise.allSettled([echo('/a'), echo('/b')]);
    for (const answer of answers) {
      if (answer.status === 'fulfilled') expect(answer.value.version).toBe('1.1');
    }
    expect(connectionsOf(w)).toBe(0);
  });
});

describe('a request that HTTP/2 would say in another way', () => {
  const line = 'GET /orders/1 HTTP/1.1\r\n';
  test.each([
    ['a chunked body', 'POST /orders/1 HTTP/1.1\r\nTransfer-Encoding: chunked\r\n', '3\r\nabc\r\n0\r\n\r\n'],
    ['Expect', 'POST /orders/1 HTTP/1.1\r\nContent-Length: 1\r\nExpect: 100-continue\r\n', 'x'],
    ['TE', `${line}TE: trailers\r\n`, ''],
    ['an option of Connection', `${line}Connection: keep-alive, x-hop\r\nX-Hop: 1\r\n`, ''],
    ['HTTP/1.0', 'GET /orders/1 HTTP/1.0\r\n', ''],
    ['a target with a fragment', 'GET /orders/1#a HTTP/1.1\r\n', ''],
    ['a target with other characters', 'GET /orders/{1} HTTP/1.1\r\n', ''],
    ['the target *', 'OPTIONS * HTTP/1.1\r\n', ''],
    ['bytes beyond ASCII', `${line}X-Name: \xe9\r\n`, ''],
    ['an Upgrade that it does not ask for', `${line}Upgrade: h2c\r\n`, ''],
  ])('stays on HTTP/1.1: %s', async (_what, head, body) => {
    const { w, echo } = await workload();
    await underWay(w, echo);
    const socket = open(w);
    socket.write(Buffer.from(`${head}Host: orders.shop\r\n\r\n${body}`, 'latin1'));
    let text = '';
    socket.on('data', (part: Buffer) => {
      text += part.toString('latin1');
    });
    await expect.poll(() => text).toContain('"version":"1.');
    expect(text).toMatch(/^HTTP\/1\.1 [12]/);
  });

  test('a WebSocket stays on HTTP/1.1', async () => {
    const { w, echo } = await workload();
    await underWay(w, echo);
    const seen = w.workload.seen.length;
    const socket = open(w);
    socket.write('GET /ws HTTP/1.1\r\nHost: orders.shop\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n');
    await expect.poll(() => socket.bytesRead).toBeGreaterThan(0);
    expect(w.workload.seen.slice(seen).every(({ alpn }) => alpn === 'istio-http/1.1')).toBe(true);
  });
});

test('a renewed certificate carries what is asked from then on; what is under way goes on', async () => {
  const { w, ask, echo } = await workload(undefined, {
    adjust: (broker) => {
      broker.svidLifetime = 4;
    },
  });
  const held = await underWay(w, echo);
  const first = connectionsOf(w);
  expect(first).toBe(1);
  await expect
    .poll(
      async () => {
        await ask('/');
        return connectionsOf(w);
      },
      { timeout: 15_000 },
    )
    .toBeGreaterThan(first);
  await expect.poll(async () => (await echo('/')).version).toBe('2.0');
  expect(held.destroyed).toBe(false);
}, 30_000);
