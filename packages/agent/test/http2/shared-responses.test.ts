/** Responses over a shared HTTP/2 connection, as an HTTP/1.1 client gets them. */
import { Agent } from 'node:http';
import { describe, expect, test } from 'vitest';
import { afterThisTest } from '../world.ts';
import { type Answer, everything, type Handler, open, underWay, workload } from './shared-workload.ts';

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
