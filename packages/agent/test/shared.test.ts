/** Requests of several HTTP/1.1 clients over one HTTP/2 connection, through a whole agent, to Node's own HTTP/2 server. */
import { Agent, createServer as createHttp1Server, request as httpRequest, type IncomingMessage } from 'node:http';
import {
  constants,
  createServer as createHttp2Server,
  type Http2ServerRequest,
  type Http2ServerResponse,
} from 'node:http2';
import { connect, type Socket } from 'node:net';
import type { TLSSocket } from 'node:tls';
import { describe, expect, test } from 'vitest';
import { service } from './harness.ts';
import { afterThisTest, type World, type WorldOptions, world } from './world.ts';

type Handler = (request: Http2ServerRequest, response: Http2ServerResponse) => void;
interface Echo {
  readonly version: string;
  readonly method: string;
  readonly url: string;
  readonly headers: Record<string, string>;
  readonly body: string;
}
interface Answer {
  readonly status: number;
  readonly headers: IncomingMessage['headers'];
  readonly trailers: IncomingMessage['trailers'];
  readonly body: string;
}
interface Ask {
  readonly method?: string;
  readonly headers?: Record<string, string | string[]>;
  readonly body?: string | Buffer;
  readonly agent?: Agent;
  readonly port?: number;
}

/** A workload that tells what it saw, in both protocols, unless `handler` answers. `/hold` is never answered to its end. */
async function workload(handler: (path: string) => Handler | undefined = () => undefined, options: WorldOptions = {}) {
  const answer: Handler = (request, response) => {
    const url = request.url;
    const own = handler(url);
    if (own) return own(request, response);
    if (url.endsWith('/hold')) {
      response.writeHead(200);
      response.write('held');
      return;
    }
    const parts: Buffer[] = [];
    request.on('data', (part: Buffer) => parts.push(part));
    request.on('end', () => {
      const { httpVersion: version, method, headers } = request;
      const echo = JSON.stringify({ version, method, url, headers, body: Buffer.concat(parts).toString('latin1') });
      response.writeHead(200, { 'content-type': 'application/json', 'content-length': echo.length });
      response.end(echo);
    });
  };
  const http1 = createHttp1Server(answer as never);
  const http2 = createHttp2Server(answer);
  const sessions = new Set<import('node:http2').ServerHttp2Session>();
  http2.on('session', (session) => {
    sessions.add(session);
    session.on('error', () => {});
    session.once('close', () => sessions.delete(session));
  });
  const w = await world({
    ...options,
    onConnection: (socket: TLSSocket) =>
      (socket.alpnProtocol === 'istio-h2' ? http2 : http1).emit('connection', socket),
  });
  const agent = new Agent({ keepAlive: true });
  afterThisTest(() => agent.destroy());
  const ask = (path: string, how: Ask = {}) => call(w, path, { agent, ...how });
  const echo = async (path: string, how: Ask = {}) => JSON.parse((await ask(path, how)).body) as Echo;
  return { w, ask, echo, sessions };
}

function addressOf(w: World, port: number): string {
  return w.agent.status().services.find((one) => one.port === port)!.address!;
}

function call(
  w: World,
  path: string,
  { method = 'GET', headers = {}, body, agent, port = 8080 }: Ask,
): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const request = httpRequest(
      {
        host: addressOf(w, port),
        port,
        path,
        method,
        headers: { host: `orders.shop:${port}`, ...headers },
        ...(agent && { agent }),
      },
      (response) => {
        let text = '';
        response.setEncoding('latin1');
        response.on('data', (part: string) => {
          text += part;
        });
        response.on('error', reject);
        response.on('end', () => {
          const { statusCode: status = 0, headers: seen, trailers } = response;
          resolve({ status, headers: seen, trailers, body: text });
        });
      },
    );
    request.on('error', reject);
    request.end(body);
  });
}

/** A request that stays under way, so that every other one finds it; returns once others are shared. */
async function underWay(w: World, echo: (path: string, how?: Ask) => Promise<Echo>, port = 8080): Promise<Socket> {
  const socket = open(w, port);
  socket.write(`GET /hold HTTP/1.1\r\nHost: orders.shop:${port}\r\n\r\n`);
  await expect.poll(() => socket.bytesRead).toBeGreaterThan(0);
  await expect.poll(async () => (await echo('/', { port })).version).toBe('2.0');
  return socket;
}

function open(w: World, port = 8080): Socket {
  const socket = connect({ host: addressOf(w, port), port, allowHalfOpen: true });
  afterThisTest(() => socket.destroy());
  socket.on('error', () => {});
  return socket;
}

/** What comes until the connection ends, and how it ended. */
function everything(socket: Socket): Promise<{ text: string; cut: boolean }> {
  return new Promise((resolve) => {
    let text = '';
    socket.on('data', (part: Buffer) => {
      text += part.toString('latin1');
    });
    socket.once('end', () => resolve({ text, cut: false }));
    socket.once('error', () => resolve({ text, cut: true }));
  });
}

const connectionsOf = (w: World) => w.workload.seen.filter(({ alpn }) => alpn === 'istio-h2').length;

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

describe('a response', () => {
  const answers: Record<string, Handler> = {
    '/204': (_, response) => response.writeHead(204).end(),
    '/304': (_, response) => response.writeHead(304, { etag: '"x"', 'content-length': '7' }).end(),
    '/empty': (_, response) => response.writeHead(200, { 'x-empty': '' }).end(),
    '/head': (_, response) => response.writeHead(200, { 'content-length': '5' }).end(),
    '/unknown-length': (_, response) => {
      response.writeHead(200);
      response.write('first ');
      setImmediate(() => response.end('second'));
    },
    '/trailers': (_, response) => {
      response.writeHead(200);
      response.write('body');
      response.addTrailers({ 'x-sum': 'abc' });
      response.end();
    },
    '/hints': (_, response) => {
      response.writeEarlyHints({ link: '</a.css>; rel=preload' });
      response.end('hinted');
    },
    '/cookies': (_, response) => response.writeHead(200, { 'set-cookie': ['a=1', 'b=2'] }).end('x'),
    '/500': (_, response) => response.writeHead(599).end('odd'),
  };

  test.each<[string, string, Partial<Answer>]>([
    ['GET', '/204', { status: 204, body: '' }],
    ['GET', '/304', { status: 304, body: '' }],
    ['GET', '/empty', { status: 200, body: '' }],
    ['HEAD', '/head', { status: 200, body: '' }],
    ['GET', '/unknown-length', { status: 200, body: 'first second' }],
    ['GET', '/trailers', { status: 200, body: 'body', trailers: { 'x-sum': 'abc' } }],
    ['GET', '/hints', { status: 200, body: 'hinted' }],
    ['GET', '/cookies', { status: 200, body: 'x' }],
    ['GET', '/500', { status: 599, body: 'odd' }],
  ])('to %s %s is framed as HTTP/1.1 frames it, and the next request follows', async (method, path, expected) => {
    const { w, ask, echo } = await workload((url) => answers[url]);
    await underWay(w, echo);
    const agent = new Agent({ keepAlive: true, maxSockets: 1 });
    afterThisTest(() => agent.destroy());
    const answer = await ask(path, { method, agent });
    expect(answer).toMatchObject(expected);
    if (path === '/head') expect(answer.headers['content-length']).toBe('5');
    if (path === '/cookies') expect(answer.headers['set-cookie']).toEqual(['a=1', 'b=2']);
    expect(await echo('/next', { agent })).toMatchObject({ version: '2.0', url: '/next' });
  });

  test('has the reason phrase that its status has', async () => {
    const { w, echo } = await workload();
    await underWay(w, echo);
    const socket = open(w);
    socket.write('GET /orders/1 HTTP/1.1\r\nHost: orders.shop\r\nConnection: close\r\n\r\n');
    expect((await everything(socket)).text).toMatch(/^HTTP\/1\.1 200 OK\r\n[\s\S]*"version":"2\.0"/);
  });

  test('of many megabytes waits for who is slow, while others are answered', async () => {
    const size = 8 * 1024 * 1024;
    let written = 0;
    const { w, echo } = await workload((url) =>
      url === '/big'
        ? (_, response) => {
            response.writeHead(200, { 'content-length': String(size) });
            const block = Buffer.alloc(65_536, 'x');
            const more = () => {
              while (written < size) {
                written += block.length;
                if (!response.write(block)) return void response.once('drain', more);
              }
              response.end();
            };
            more();
          }
        : undefined,
    );
    await underWay(w, echo);
    const slow = open(w);
    let got = 0;
    slow.write('GET /big HTTP/1.1\r\nHost: orders.shop\r\n\r\n');
    await expect.poll(() => slow.bytesRead).toBeGreaterThan(0);
    slow.pause();
    let before = -1;
    await expect
      .poll(
        () => {
          const still = written === before;
          before = written;
          return still;
        },
        { interval: 200 },
      )
      .toBe(true);
    expect(written).toBeLessThan(size);
    for (let n = 0; n < 20; n++) expect((await echo(`/${n}`)).version).toBe('2.0');
    slow.on('data', (part: Buffer) => {
      got += part.length;
    });
    slow.resume();
    await expect.poll(() => got, { timeout: 15_000 }).toBeGreaterThan(size);
  });

  test('to a body of many megabytes comes when all of it has gone', async () => {
    const { w, echo } = await workload();
    await underWay(w, echo);
    const body = Buffer.alloc(3 * 1024 * 1024, 'abcdefg');
    const answers = await Promise.all([1, 2].map(() => echo('/echo', { method: 'PUT', body })));
    for (const answer of answers) {
      expect(answer.version).toBe('2.0');
      expect(answer.body === body.toString('latin1')).toBe(true);
    }
  });

  test('that comes before the body has gone ends the connection, and is not lost', async () => {
    const { w, echo } = await workload((url) =>
      url === '/refuse' ? (_, response) => response.writeHead(413, { 'content-length': '3' }).end('no\n') : undefined,
    );
    await underWay(w, echo);
    const socket = open(w);
    socket.write('POST /refuse HTTP/1.1\r\nHost: orders.shop\r\nContent-Length: 1000000\r\n\r\nbegin');
    const { text, cut } = await everything(socket);
    expect(text).toMatch(/^HTTP\/1\.1 413 [\s\S]*no\n$/);
    expect(cut).toBe(false);
  });
});

describe('a refusal by policy', () => {
  const refusing = (body: string, status = 403) =>
    workload((url) =>
      url.startsWith('/admin')
        ? (_, response) =>
            response
              .writeHead(status, { 'content-length': String(body.length), 'content-type': 'text/plain' })
              .end(body)
        : undefined,
    );

  test('says what is granted, and the connection goes on', async () => {
    const { w, ask, echo } = await refusing('RBAC: access denied');
    await underWay(w, echo);
    const agent = new Agent({ keepAlive: true, maxSockets: 1 });
    afterThisTest(() => agent.destroy());
    const answer = await ask('/admin/x', { agent });
    expect(answer.status).toBe(403);
    expect(answer.headers['x-meshpass-code']).toBe('agent_policy_refused');
    expect(answer.body).toContain('GET /admin/x refused by policy at orders.shop: your grant payments-dev allows');
    const json = await ask('/admin', { agent, headers: { accept: 'application/json' } });
    expect(JSON.parse(json.body)).toMatchObject({ error_code: 'agent_policy_refused', session_id: 'ses-1' });
    expect((await echo('/next', { agent })).version).toBe('2.0');
  });

  test.each([
    ['RBAC: access granted', 403],
    ['RBAC: access deniee', 403],
    ['RBAC: access denied', 404],
  ])('is not what another answer is: %s, %s', async (body, status) => {
    const { w, ask, echo } = await refusing(body, status);
    await underWay(w, echo);
    expect(await ask('/admin')).toMatchObject({ status, body });
  });
});

describe('what breaks off', () => {
  const breaking: Record<string, Handler> = {
    '/half': (_, response) => {
      response.writeHead(200, { 'content-length': '10' });
      response.write('half');
      setImmediate(() => response.stream.close(constants.NGHTTP2_INTERNAL_ERROR));
    },
    '/half-chunked': (_, response) => {
      response.writeHead(200);
      response.write('half');
      setImmediate(() => response.stream.close(constants.NGHTTP2_INTERNAL_ERROR));
    },
    '/reset': (_, response) => response.stream.close(constants.NGHTTP2_INTERNAL_ERROR),
    '/refused': (_, response) => response.stream.close(constants.NGHTTP2_REFUSED_STREAM),
  };
  const only2: (path: string) => Handler | undefined = (url) => {
    const own = breaking[url];
    // On HTTP/1.1 there is no stream to break, and the request is answered.
    return (
      own && ((request, response) => (request.httpVersion === '2.0' ? own(request, response) : response.end('whole')))
    );
  };

  test.each(['/half', '/half-chunked'])('in the middle of a response is a connection that is cut: %s', async (path) => {
    const { w, echo } = await workload(only2);
    await underWay(w, echo);
    const socket = open(w);
    socket.write(`GET ${path} HTTP/1.1\r\nHost: orders.shop\r\n\r\n`);
    const { text, cut } = await everything(socket);
    expect(text).not.toContain('0\r\n\r\n');
    expect(cut).toBe(true);
    expect((await echo('/next')).version).toBe('2.0');
  });

  test.each<[string, string, string, number]>([
    ['a GET', 'GET', '/reset', 200],
    ['a POST that may have been processed', 'POST', '/reset', 502],
    ['a POST that was not processed', 'POST', '/refused', 200],
  ])('before a response, %s', async (_what, method, path, status) => {
    const { w, ask, echo } = await workload(only2);
    await underWay(w, echo);
    const answer = await ask(path, { method, headers: { 'content-length': '0' } });
    expect(answer.status).toBe(status);
    if (status === 502) expect(answer.headers['x-meshpass-code']).toBe('agent_edge_unreachable');
    else expect(answer.body).toBe('whole');
  });

  test('before a response, a request whose body has gone is not sent again', async () => {
    const { w, ask, echo } = await workload(only2);
    await underWay(w, echo);
    expect((await ask('/refused', { method: 'POST', body: 'x' })).status).toBe(502);
  });

  test('at the client is told to the workload', async () => {
    let closed = 0;
    const { w, echo } = await workload((url) =>
      url === '/wait'
        ? (_, response) =>
            void response.stream.once('close', () => {
              closed += 1;
            })
        : undefined,
    );
    await underWay(w, echo);
    const socket = open(w);
    socket.write('GET /wait HTTP/1.1\r\nHost: orders.shop\r\n\r\n');
    await expect.poll(async () => (await echo('/')).version).toBe('2.0');
    socket.resetAndDestroy();
    await expect.poll(() => closed).toBe(1);
    expect((await echo('/next')).version).toBe('2.0');
  });

  test('by GOAWAY ends nothing that is under way, and the next requests have another connection', async () => {
    const release: (() => void)[] = [];
    const { w, ask, echo, sessions } = await workload((url) =>
      url === '/wait' ? (_, response) => void release.push(() => response.end('whole')) : undefined,
    );
    await underWay(w, echo);
    const waiting = ask('/wait');
    await expect.poll(() => release.length).toBe(1);
    for (const session of sessions) session.close();
    await expect.poll(async () => (await echo('/after')).version).toBe('2.0');
    release[0]!();
    expect(await waiting).toMatchObject({ status: 200, body: 'whole' });
    expect(connectionsOf(w)).toBe(2);
  });

  test('at the edge, because the session ended, ends all of them at once', async () => {
    let asked = 0;
    const count = () => {
      asked += 1;
    };
    const { w, echo } = await workload((url) => (url === '/wait' ? count : undefined));
    const held = await underWay(w, echo);
    const waiting = Array.from({ length: 20 }, () => {
      const socket = open(w);
      socket.write('POST /wait HTTP/1.1\r\nHost: orders.shop\r\nContent-Length: 0\r\n\r\n');
      return everything(socket);
    });
    await expect.poll(() => asked).toBe(20);
    w.edge.refuse = { status: 403, body: { error_code: 'tunnel_session_unknown', error_description: 'closed' } };
    const cut = everything(held);
    for (const tunnel of w.edge.sockets) tunnel.destroy();
    expect((await cut).cut).toBe(true);
    for (const { text } of await Promise.all(waiting))
      expect(text).toMatch(/^HTTP\/1\.1 502 [\s\S]*agent_edge_unreachable/);
    await expect.poll(() => w.agent.status().tunnels).toBe(0);
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
