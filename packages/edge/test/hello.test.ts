import { once } from 'node:events';
import { createServer, type Socket } from 'node:net';
import { connect } from 'node:tls';
import { beforeAll, describe, expect, test } from 'vitest';
import { type ClientHelloResult, createClientHelloReader } from '../src/tunnel/client-hello.ts';

const SNI = 'outbound_.8080_._.orders.shop.svc.cluster.local';
const LIMIT = 16_384;
let real: Buffer;
beforeAll(async () => {
  const server = createServer();
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const client = connect({ host: '127.0.0.1', port: (server.address() as { port: number }).port, servername: SNI });
  client.on('error', () => {});
  const [socket] = (await once(server, 'connection')) as [Socket];
  [real] = (await once(socket, 'data')) as [Buffer];
  client.destroy();
  socket.destroy();
  server.close();
});

function read(bytes: Buffer, limit = LIMIT): ClientHelloResult {
  return createClientHelloReader(limit).push(bytes);
}

/** Splits the same handshake message into records of `size` bytes. */
function fragment(hello: Buffer, size: number): Buffer {
  const message = hello.subarray(5);
  const records: Buffer[] = [];
  for (let at = 0; at < message.length; at += size) {
    const part = message.subarray(at, at + size);
    records.push(Buffer.from([22, 3, 1, part.length >> 8, part.length & 255]), part);
  }
  return Buffer.concat(records);
}

/** Builds a ClientHello from its parts; `extensions` as [type, data]. */
function build(extensions: readonly (readonly [number, Buffer])[], tail: Buffer = Buffer.alloc(0)): Buffer {
  const u16 = (n: number) => Buffer.from([n >> 8, n & 255]);
  const list = Buffer.concat(extensions.flatMap(([type, data]) => [u16(type), u16(data.length), data]));
  const fixed = Buffer.concat([Buffer.from([3, 3]), Buffer.alloc(32, 9), Buffer.from([0, 0, 2, 0x13, 1, 1, 0])]);
  const body = Buffer.concat([fixed, u16(list.length), list, tail]);
  const message = Buffer.concat([Buffer.from([1, 0]), u16(body.length), body]);
  return Buffer.concat([Buffer.from([22, 3, 1]), u16(message.length), message]);
}

function names(...entries: readonly (readonly [number, string])[]): Buffer {
  const list = Buffer.concat(
    entries.map(([type, name]) => Buffer.concat([Buffer.from([type, 0, name.length]), Buffer.from(name, 'latin1')])),
  );
  return Buffer.concat([Buffer.from([0, list.length]), list]);
}

describe('server name', () => {
  test('is read from a real client', () => {
    expect(read(real)).toEqual({ state: 'done', sni: SNI });
  });

  test('is read from records of any size, in chunks of any size', () => {
    for (const size of [1, 2, 3, 7, 100, 5000]) {
      const bytes = fragment(real, size);
      for (const step of [1, 5, 6, 333]) {
        const reader = createClientHelloReader(LIMIT);
        let result: ClientHelloResult = { state: 'more' };
        for (let at = 0; at < bytes.length; at += step) {
          expect(result.state).toBe('more');
          result = reader.push(bytes.subarray(at, at + step));
        }
        expect(result).toEqual({ state: 'done', sni: SNI });
        expect(reader.bytes().equals(bytes)).toBe(true);
      }
    }
  });

  test('is absent if the client sends none', () => {
    expect(read(build([]))).toEqual({ state: 'done', sni: undefined });
    expect(read(build([[0, names([0, 'a.b'])]]))).toEqual({ state: 'done', sni: 'a.b' });
  });

  test('is read without losing the records after the ClientHello', () => {
    const reader = createClientHelloReader(LIMIT);
    const bytes = Buffer.concat([real, Buffer.from([20, 3, 3, 0, 1, 1])]);
    expect(reader.push(bytes).state).toBe('done');
    expect(reader.bytes().equals(bytes)).toBe(true);
  });
});

describe('a ClientHello is refused', () => {
  test.each<[string, () => Buffer]>([
    ['that is plain HTTP', () => Buffer.from('GET / HTTP/1.1\r\n\r\n')],
    ['whose first byte is not a handshake', () => Buffer.from([23])],
    ['that is an SSLv2 hello', () => Buffer.from([0x80, 0x2e, 1, 3, 1])],
    ['in a record of no length', () => Buffer.from([22, 3, 1, 0, 0])],
    ['in a record that is too long', () => Buffer.from([22, 3, 1, 0x40, 1])],
    ['in a record of another protocol', () => Buffer.from([22, 4, 1, 0, 5])],
    ['that is a ServerHello', () => Buffer.from([22, 3, 3, 0, 4, 2, 0, 0, 0])],
    ['that announces sixteen megabytes', () => Buffer.from([22, 3, 1, 0, 4, 1, 255, 255, 255])],
    [
      'interrupted by an alert',
      () => Buffer.concat([fragment(real, 50).subarray(0, 55), Buffer.from([21, 3, 3, 0, 2, 2, 0])]),
    ],
    ['with two server names', () => build([[0, names([0, 'a.b'], [0, 'c.d'])]])],
    ['with a name of another type', () => build([[0, names([1, 'a.b'])]])],
    [
      'with the extension twice',
      () =>
        build([
          [0, names([0, 'a.b'])],
          [0, names([0, 'c.d'])],
        ]),
    ],
    ['with an empty name', () => build([[0, names([0, ''])]])],
    ['with a NUL in the name', () => build([[0, names([0, 'a.b\0.c'])]])],
    ['with a byte outside ASCII in the name', () => build([[0, names([0, 'ä.b'])]])],
    ['with bytes after the name list', () => build([[0, Buffer.concat([names([0, 'a.b']), Buffer.from([0])])]])],
    ['with bytes after the extensions', () => build([[0, names([0, 'a.b'])]], Buffer.from([0]))],
    [
      'with another message in its record',
      () => {
        const hello = build([[0, names([0, 'a.b'])]]);
        hello[4]! += 1;
        return Buffer.concat([hello, Buffer.from([0])]);
      },
    ],
  ])('%s', (_name, bytes) => {
    expect(read(bytes()).state).toBe('error');
  });

  test('larger than the limit, as soon as its size is known', () => {
    const reader = createClientHelloReader(1_000);
    expect(reader.push(fragment(real, 10).subarray(0, 30)).state).toBe('error');
  });

  test('that exceeds the limit in records of one byte', () => {
    const reader = createClientHelloReader(500);
    const bytes = fragment(build([[0, names([0, 'a'.repeat(200)])]]), 1);
    let state = 'more';
    for (let at = 0; at < bytes.length && state === 'more'; at++) state = reader.push(bytes.subarray(at, at + 1)).state;
    expect(state).toBe('error');
  });
});

describe('for any bytes', () => {
  test('a truncated ClientHello needs more, and is never done', () => {
    for (let end = 1; end < real.length; end++) expect(read(real.subarray(0, end)).state).toBe('more');
  });

  test('changed bytes have a result, never an exception, and never a name above the limit', () => {
    let seed = 42;
    const random = (below: number) => {
      seed = (Math.imul(seed, 1_103_515_245) + 12_345) >>> 0;
      return (seed >>> 8) % below;
    };
    for (let round = 0; round < 5_000; round++) {
      const bytes = Buffer.from(real);
      for (let n = random(4) + 1; n > 0; n--) bytes[random(bytes.length)] = random(256);
      const result = read(round % 3 ? bytes : bytes.subarray(0, random(bytes.length) + 1));
      if (result.state === 'done') expect((result.sni ?? '').length).toBeLessThanOrEqual(255);
      expect(['more', 'done', 'error']).toContain(result.state);
    }
  });
});
