import { connect, createServer, type ServerHttp2Stream } from 'node:http2';
import { type AddressInfo, createServer as createTcpServer, connect as tcpConnect } from 'node:net';
import { expect, test } from 'vitest';
import { HTTP2_PREFACE, Http2Requests, neverIndexedField } from '../../src/http2.ts';

const TOKEN = `head.${'t'.repeat(900)}.sig`;

/** A real HTTP/2 server and a real client, with the transformation between them, in pieces of at most `size` bytes. */
async function between(size: number) {
  const seen: { path: string; token: string | string[] | undefined; trailers: unknown; body: number }[] = [];
  const server = createServer();
  server.on('stream', (stream: ServerHttp2Stream, headers) => {
    const entry = {
      path: headers[':path']!,
      token: headers['x-meshpass-token'],
      trailers: undefined as unknown,
      body: 0,
    };
    seen.push(entry);
    stream.on('trailers', (trailers) => {
      entry.trailers = { ...trailers };
    });
    stream.on('data', (chunk) => {
      entry.body += chunk.length;
    });
    stream.on('end', () => {
      stream.respond({ ':status': 200 });
      stream.end('done');
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', () => resolve()));
  const middle = createTcpServer((client) => {
    const upstream = tcpConnect((server.address() as AddressInfo).port, '127.0.0.1');
    const requests = new Http2Requests(() => neverIndexedField('x-meshpass-token', TOKEN));
    client.on('data', (chunk: Buffer) => {
      for (let at = 0; at < chunk.length; at += size) upstream.write(requests.transform(chunk.subarray(at, at + size)));
    });
    upstream.pipe(client);
    for (const socket of [client, upstream])
      socket.on('error', () => {}).on('close', () => [client, upstream].map((s) => s.destroy()));
  });
  await new Promise<void>((resolve) => middle.listen(0, '127.0.0.1', () => resolve()));
  const session = connect(`http://127.0.0.1:${(middle.address() as AddressInfo).port}`);
  const close = () => {
    session.destroy();
    middle.close();
    server.close();
  };
  return { session, seen, close };
}

test.each([1, 7, 64, 65_536])('every request gets the token, in pieces of %i bytes', async (size) => {
  const { session, seen, close } = await between(size);
  try {
    const call = (path: string, headers: Record<string, string>, body: Buffer, trailers?: Record<string, string>) =>
      new Promise<number>((resolve, reject) => {
        const stream = session.request({ ':path': path, ':method': 'POST', ...headers }, {
          waitForTrailers: trailers !== undefined,
          weight: 7,
        } as object);
        if (trailers) stream.on('wantTrailers', () => stream.sendTrailers(trailers));
        stream.on('response', (answer) => resolve(answer[':status']!));
        stream.on('error', reject);
        stream.resume();
        stream.end(body);
      });
    const bodySize = size === 1 ? 300 : 100_000;
    const statuses = await Promise.all([
      call('/grpc.Orders/Get', { te: 'trailers', 'x-a': 'indexed' }, Buffer.alloc(bodySize)),
      call('/grpc.Orders/List', { te: 'trailers', 'x-a': 'indexed' }, Buffer.alloc(10), { 'x-sum': '1' }),
    ]);
    expect(statuses).toEqual([200, 200]);
    // The compression state is still the same on both sides: a later request that uses the table decodes.
    expect(await call('/again', { 'x-a': 'indexed' }, Buffer.alloc(0))).toBe(200);
    expect(seen.map(({ path, token }) => ({ path, token }))).toEqual([
      { path: '/grpc.Orders/Get', token: TOKEN },
      { path: '/grpc.Orders/List', token: TOKEN },
      { path: '/again', token: TOKEN },
    ]);
    expect(seen[0]!.body).toBe(bodySize);
    expect(seen[1]!.trailers).toMatchObject({ 'x-sum': '1' });
  } finally {
    close();
  }
});

test('a header block that no longer fits one frame goes on in a CONTINUATION', async () => {
  const { session, seen, close } = await between(65_536);
  try {
    const status = await new Promise<number>((resolve, reject) => {
      const stream = session.request({ ':path': '/long', 'x-long': 'l'.repeat(15_800) });
      stream.on('response', (answer) => resolve(answer[':status']!));
      stream.on('error', reject);
      stream.resume();
    });
    expect(status).toBe(200);
    expect(seen[0]!.token).toBe(TOKEN);
  } finally {
    close();
  }
});

function frame(type: number, flags: number, stream: number, payload: Buffer): Buffer {
  const head = Buffer.alloc(9);
  head.writeUIntBE(payload.length, 0, 3);
  head[3] = type;
  head[4] = flags;
  head.writeUInt32BE(stream, 5);
  return Buffer.concat([head, payload]);
}

test('padding and priority are understood', () => {
  const requests = new Http2Requests(() => Buffer.from('FIELD'));
  const priority = Buffer.from([0, 0, 0, 0, 15]);
  const padded = Buffer.concat([Buffer.of(3), priority, Buffer.from('BLOCK'), Buffer.alloc(3)]);
  const out = requests.transform(Buffer.concat([HTTP2_PREFACE, frame(1, 0x4 | 0x1 | 0x8 | 0x20, 1, padded)]));
  const rest = frame(1, 0x4 | 0x1 | 0x20, 1, Buffer.concat([priority, Buffer.from('BLOCKFIELD')]));
  expect(out).toEqual(Buffer.concat([HTTP2_PREFACE, rest]));
});

test.each([
  ['another preface', Buffer.from('PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n')],
  ['an even stream', Buffer.concat([HTTP2_PREFACE, frame(1, 4, 2, Buffer.alloc(1))])],
  ['CONTINUATION alone', Buffer.concat([HTTP2_PREFACE, frame(9, 4, 1, Buffer.alloc(1))])],
  [
    'a frame inside a header block',
    Buffer.concat([HTTP2_PREFACE, frame(1, 0, 1, Buffer.alloc(1)), frame(6, 0, 0, Buffer.alloc(8))]),
  ],
  [
    'data inside a header block',
    Buffer.concat([HTTP2_PREFACE, frame(1, 0, 1, Buffer.alloc(1)), frame(0, 0, 1, Buffer.alloc(8))]),
  ],
  ['padding longer than the frame', Buffer.concat([HTTP2_PREFACE, frame(1, 0xc, 1, Buffer.of(200, 1))])],
])('%s is refused', (_, bytes) => {
  expect(() => new Http2Requests(() => Buffer.alloc(0)).transform(bytes)).toThrow(
    expect.objectContaining({ code: 'request_malformed' }),
  );
});
