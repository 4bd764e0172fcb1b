import { constants } from 'node:http2';
import { describe, expect, test } from 'vitest';
import { connectionsOf, everything, type Handler, open, underWay, workload } from './shared-workload.ts';

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
