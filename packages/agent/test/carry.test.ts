import { createServer as createHttp2Server, connect as http2Connect, type ServerHttp2Stream } from 'node:http2';
import { connect, type Socket } from 'node:net';
import type { TLSSocket } from 'node:tls';
import { describe, expect, test } from 'vitest';
import { service } from './harness.ts';
import { type World, world } from './world.ts';

function open(w: World, port = 8080): Promise<Socket> {
  const { address } = w.agent.status().services.find((s) => s.port === port)!;
  return new Promise((resolve, reject) => {
    const socket = connect({ host: address!, port, allowHalfOpen: true }, () => resolve(socket));
    socket.once('error', reject);
  });
}

/** Everything until the other side ends; rejects when the connection is cut. */
function readAll(socket: Socket): Promise<string> {
  return new Promise((resolve, reject) => {
    let text = '';
    socket.on('data', (chunk) => {
      text += chunk.toString('latin1');
    });
    socket.on('end', () => resolve(text));
    socket.on('error', reject);
  });
}

function until(socket: Socket, done: (text: string) => boolean): Promise<string> {
  return new Promise((resolve, reject) => {
    let text = '';
    const onData = (chunk: Buffer) => {
      text += chunk.toString('latin1');
      if (!done(text)) return;
      socket.off('data', onData);
      resolve(text);
    };
    socket.on('data', onData);
    socket.on('error', reject);
  });
}

const GET = 'GET /orders/1 HTTP/1.1\r\nHost: orders.shop:8080\r\n\r\n';

describe('HTTP/1.1', () => {
  test('a connection that one client left at rest serves the next', async () => {
    const w = await world();
    for (let call = 0; call < 3; call++) {
      const socket = await open(w);
      socket.write(GET);
      await until(socket, (text) => text.endsWith('\r\n\r\n') && text.includes('GET /orders/1'));
      socket.end();
      await new Promise((resolve) => socket.once('close', resolve));
    }
    expect(w.workload.seen.length).toBeLessThanOrEqual(2);
  });

  test('pipelined requests are answered in order, each with the token', async () => {
    const w = await world();
    const socket = await open(w);
    socket.write(GET + GET.replace('/1', '/2') + GET.replace('/1', '/3'));
    const text = await until(socket, (all) => all.includes('/orders/3') && all.endsWith('\r\n\r\n'));
    expect(text.match(/GET \/orders\/\d/g)).toEqual(['GET /orders/1', 'GET /orders/2', 'GET /orders/3']);
    expect(text.match(/x-meshpass-token: /g)).toHaveLength(3);
    socket.destroy();
  });

  test('a client that has sent its last request and closed its side still gets the answer', async () => {
    const w = await world();
    const socket = await open(w);
    socket.end(GET);
    expect(await readAll(socket)).toContain('GET /orders/1');
  });

  test('a smuggled request ends in 400 and never reaches the workload', async () => {
    const received: string[] = [];
    const w = await world({
      onConnection: (socket) => socket.on('data', (chunk) => received.push(chunk.toString('latin1'))),
    });
    const socket = await open(w);
    socket.write(
      'POST / HTTP/1.1\r\nHost: orders.shop\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /admin',
    );
    const answer = await readAll(socket);
    expect(answer).toMatch(/^HTTP\/1\.1 400 Bad Request\r\n/);
    expect(answer).toContain('both Content-Length and Transfer-Encoding');
    expect(received).toEqual([]);
  });

  test('a body of many megabytes goes both ways unchanged, and waits for who is slow', async () => {
    const size = 8 * 1024 * 1024;
    const w = await world({
      onConnection: (socket) => {
        let head = '';
        socket.on('data', function first(chunk: Buffer) {
          head += chunk.toString('latin1');
          const end = head.indexOf('\r\n\r\n');
          if (end < 0) return;
          socket.off('data', first);
          socket.write(`HTTP/1.1 200 OK\r\ncontent-length: ${size}\r\n\r\n`);
          socket.write(Buffer.from(head.slice(end + 4), 'latin1'));
          socket.pipe(socket);
        });
      },
    });
    const socket = await open(w);
    const body = Buffer.alloc(size);
    for (let at = 0; at < size; at += 4) body.writeUInt32LE(at, at);
    socket.write(`POST /orders/echo HTTP/1.1\r\nHost: orders.shop\r\nContent-Length: ${size}\r\n\r\n`);
    socket.write(body);
    const chunks: Buffer[] = [];
    let got = 0;
    let skipped = false;
    await new Promise<void>((resolve, reject) => {
      socket.on('error', reject);
      socket.on('data', (chunk: Buffer) => {
        let bytes = chunk;
        if (!skipped) {
          skipped = true;
          bytes = chunk.subarray(chunk.indexOf('\r\n\r\n') + 4);
        }
        chunks.push(bytes);
        got += bytes.length;
        if (got >= size) return resolve();
        if (chunks.length % 50 === 0) {
          socket.pause();
          setTimeout(() => socket.resume(), 5);
        }
      });
    });
    expect(Buffer.concat(chunks).equals(body)).toBe(true);
    socket.destroy();
  });

  test('101 turns the connection into another protocol', async () => {
    const w = await world({
      onConnection: (socket) =>
        socket.once('data', () => {
          socket.write('HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n');
          socket.on('data', (chunk) => socket.write(chunk));
          socket.on('end', () => socket.end());
        }),
    });
    const socket = await open(w);
    socket.write('GET /ws HTTP/1.1\r\nHost: orders.shop\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n');
    await until(socket, (text) => text.endsWith('\r\n\r\n'));
    const all = readAll(socket);
    socket.write('GET is no request here\r\n\r\n');
    socket.end('\x00\x01');
    expect(await all).toBe('GET is no request here\r\n\r\n\x00\x01');
  });

  test('a service that closes before it answers is told as 502, in the middle of a body as a cut connection', async () => {
    const w = await world({
      onConnection: (socket) =>
        socket.once('data', (chunk) => {
          if (chunk.includes('/orders/half'))
            socket.write('HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf', () => socket.destroy());
          else socket.destroy();
        }),
    });
    const early = await open(w);
    early.write(GET);
    const answer = await readAll(early);
    expect(answer).toMatch(/^HTTP\/1\.1 502 Bad Gateway\r\n/);
    expect(answer).toContain('x-meshpass-code: agent_edge_unreachable');
    const half = await open(w);
    half.write(GET.replace('/orders/1', '/orders/half'));
    await expect(readAll(half)).rejects.toMatchObject({ code: 'ECONNRESET' });
  });

  test('when the session is cut at the edge, the local connections end at once', async () => {
    const w = await world();
    const socket = await open(w);
    socket.write(GET);
    await until(socket, (text) => text.includes('GET /orders/1'));
    const ended = new Promise((resolve) => socket.once('end', resolve).once('error', resolve));
    for (const tunnel of w.edge.sockets) tunnel.destroy();
    await ended;
    socket.destroy();
    expect(w.edge.sockets.size).toBeLessThan(4);
  });
});

describe('HTTP/2 with prior knowledge', () => {
  test.each(['http', 'http2'] as const)('on a port declared %s', async (protocol) => {
    const http2 = createHttp2Server();
    http2.on('stream', (stream: ServerHttp2Stream, headers) => {
      stream.respond({ ':status': 200 });
      stream.end(`${headers[':path']} ${headers['x-meshpass-token']}`);
    });
    const w = await world({
      services: [service({ protocol })],
      onConnection: (socket: TLSSocket) => http2.emit('connection', socket),
    });
    const { address } = w.agent.status().services[0]!;
    const session = http2Connect(`http://${address}:8080`);
    try {
      for (const path of ['/a', '/b']) {
        const text = await new Promise<string>((resolve, reject) => {
          let all = '';
          const stream = session.request({ ':path': path, ':authority': 'orders.shop:8080' });
          stream.on('data', (chunk) => {
            all += chunk;
          });
          stream.on('end', () => resolve(all));
          stream.on('error', reject);
        });
        expect(text).toMatch(new RegExp(`^${path} head\\.token\\d+\\.sig$`));
      }
      expect(w.workload.seen.at(-1)!.alpn).toBe('istio-h2');
    } finally {
      session.destroy();
    }
  });
});

describe('raw TCP', () => {
  const ledger = service({
    host: 'ledger-db.shop.svc.cluster.local',
    aliases: ['ledger-db.shop'],
    port: 15432,
    protocol: 'tcp',
  });

  test('the server may speak first, and each side may end its half', async () => {
    const w = await world({
      services: [ledger],
      onConnection: (socket) => {
        socket.write('hello ');
        let text = '';
        socket.on('data', (chunk) => {
          text += chunk;
        });
        socket.on('end', () => socket.end(`you said ${text}`));
      },
    });
    const socket = await open(w, 15432);
    const all = readAll(socket);
    socket.end('bye');
    expect(await all).toBe('hello you said bye');
    expect(w.workload.seen[0]!.alpn).toBe('istio');
  });

  test('an edge that has not heard of the session yet is asked again', async () => {
    const w = await world({ services: [ledger], onConnection: (socket) => socket.end('here') });
    w.edge.refuse = { status: 403, body: { error_code: 'tunnel_session_unknown', error_description: 'not yet' } };
    const socket = await open(w, 15432);
    setTimeout(() => {
      w.edge.refuse = undefined;
    }, 200);
    expect(await readAll(socket)).toBe('here');
    socket.destroy();
  });

  test('a tunnel that is refused ends the connection', async () => {
    const w = await world({ services: [ledger] });
    w.edge.refuse = { status: 403, body: { error_code: 'tunnel_target_not_granted', error_description: 'over' } };
    const socket = await open(w, 15432);
    await new Promise((resolve) => socket.resume().once('close', resolve).once('error', resolve).once('end', resolve));
    expect(w.workload.seen).toEqual([]);
    socket.destroy();
  });
});
