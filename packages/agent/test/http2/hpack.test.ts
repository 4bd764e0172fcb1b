import { createServer, type Http2Server } from 'node:http2';
import { type AddressInfo, connect } from 'node:net';
import { afterEach, describe, expect, test } from 'vitest';
import { HeaderDecoder } from '../../src/hpack-decode.ts';
import { type EncodedField, HeaderEncoder } from '../../src/hpack-encode.ts';
import { STATIC_TABLE } from '../../src/hpack-table.ts';
import { HTTP2_PREFACE } from '../../src/http2.ts';
import { FRAME, FrameReader, frame, headersFrames } from '../../src/http2-frame.ts';
import { decodeHuffman } from '../../src/huffman.ts';

const LIMIT = 65_536;
const hex = (text: string) => Buffer.from(text.replaceAll(' ', ''), 'hex');
const decode = (decoder: HeaderDecoder, text: string) =>
  decoder.decode(hex(text), LIMIT).map(({ name, value }) => `${name}: ${value}`);

let server: Http2Server | undefined;
afterEach(() => server?.close());

describe('the Huffman code', () => {
  test.each([
    ['f1e3c2e5f23a6ba0ab90f4ff', 'www.example.com'],
    ['a8eb10649cbf', 'no-cache'],
    ['d07abe941054d444a8200595040b8166e082a62d1bff', 'Mon, 21 Oct 2013 20:13:21 GMT'],
    ['', ''],
  ])('%s is %s (RFC 7541 appendix C)', (bytes, text) => {
    expect(decodeHuffman(hex(bytes), 0, bytes.length / 2)).toBe(text);
  });

  test.each([
    ['padding of zeros', '1800'],
    ['eight bits of padding', '1fff'],
    ['the end of the string within it', 'ffffffff'],
  ])('%s is refused', (_what, bytes) => {
    expect(decodeHuffman(hex(bytes), 0, bytes.length / 2)).toBeUndefined();
  });
});

describe('a decoder', () => {
  test('keeps the table from block to block (RFC 7541 section C.4)', () => {
    const decoder = new HeaderDecoder();
    const first = [':method: GET', ':scheme: http', ':path: /', ':authority: www.example.com'];
    expect(decode(decoder, '8286 8441 8cf1 e3c2 e5f2 3a6b a0ab 90f4 ff')).toEqual(first);
    expect(decode(decoder, '8286 84be 5886 a8eb 1064 9cbf')).toEqual([...first, 'cache-control: no-cache']);
    expect(decode(decoder, '8287 85bf 4088 25a8 49e9 5ba9 7d7f 8925 a849 e95b b8e8 b4bf')).toEqual([
      ...[':method: GET', ':scheme: https', ':path: /index.html', ':authority: www.example.com'],
      'custom-key: custom-value',
    ]);
  });

  test('forgets what no longer fits', () => {
    const decoder = new HeaderDecoder();
    const encoder = new HeaderEncoder();
    const long = (n: number) => [{ name: `x-${n}`, value: 'v'.repeat(1000) }];
    const blocks = Array.from({ length: 40 }, (_, n) => {
      encoder.encode([], `seen ${n}`, () => long(n)); // indexed from the second time on
      return encoder.encode([], `sent ${n}`, () => long(n));
    });
    for (const [n, block] of blocks.entries()) expect(decoder.decode(block, LIMIT)).toMatchObject(long(n));
    expect(decode(decoder, 'be')).toEqual([`x-39: ${'v'.repeat(1000)}`]);
    expect(() => decode(decoder, 'c1')).toThrow('an index that no table has'); // three fit into 4096 bytes
  });

  test.each([
    ['an index of nothing', '80'],
    ['an index beyond the tables', 'be'],
    ['a string that is cut off', '400a6375'],
    ['an integer that is cut off', 'ff'],
    ['an integer that never ends', 'ffffffffffffffff00'],
    ['a table larger than allowed', '3fe21f'],
    ['a change of the table after a field', '8220'],
    ['an upper-case name', '0001410161'],
    ['a name with a space', '000261200161'],
    ['a value with a line break', '0001610361 0d0a'],
    ['a value with a NUL', '00016101 00'],
    ['an empty name', '00000161'],
    ['transfer-encoding', '0f2a07 6368756e6b6564'],
    ['connection', '000a636f6e6e656374696f6e05636c6f7365'],
  ])('refuses %s', (_what, bytes) => {
    expect(() => decode(new HeaderDecoder(), bytes)).toThrow();
  });

  test('refuses what decodes to more than its limit, however short it is', () => {
    const encoder = new HeaderEncoder();
    const field = [{ name: 'x', value: 'v'.repeat(1900) }];
    const decoder = new HeaderDecoder();
    decoder.decode(
      encoder.encode([], 'a', () => field),
      LIMIT,
    );
    decoder.decode(
      encoder.encode([], 'b', () => field),
      LIMIT,
    );
    const bomb = Buffer.alloc(
      100,
      encoder.encode([], 'c', () => field),
    );
    expect(bomb[0]! & 0x80).toBe(0x80);
    expect(() => decoder.decode(bomb, LIMIT)).toThrow('too long');
  });

  test('reads what nghttp2 sends: every character, many times over', async () => {
    const every = Array.from({ length: 95 }, (_, at) => String.fromCharCode(32 + at));
    // Short codes around each one, so that Huffman coding is worth it.
    const values = every.map((character) => `aeiost${character}aeiost0120`);
    server = createServer((request, response) => {
      response.writeHead(200, Object.fromEntries(values.map((value, n) => [`x-${n}-${request.url!.slice(1)}`, value])));
      response.end();
    });
    await new Promise<void>((resolve) => server!.listen(0, '127.0.0.1', resolve));
    const { port } = server.address() as AddressInfo;
    const socket = connect(port, '127.0.0.1');
    const encoder = new HeaderEncoder();
    const decoder = new HeaderDecoder();
    socket.write(Buffer.concat([HTTP2_PREFACE, frame(FRAME.settings, 0, 0, Buffer.alloc(0))]));
    const ask = (stream: number, path: string) => {
      const fields = [
        { name: ':method', value: 'GET' },
        { name: ':scheme', value: 'http' },
        { name: ':authority', value: 'x' },
      ];
      const block = encoder.encode([{ name: ':path', value: path }], 'key', () => fields);
      socket.write(Buffer.concat(headersFrames(stream, block, true)));
    };
    const answers: Record<string, string>[] = [];
    let block: Buffer[] = [];
    await new Promise<void>((resolve, reject) => {
      const reader = new FrameReader({
        frame: (type, flags, _stream, payload) => {
          if (type !== FRAME.headers && type !== FRAME.continuation) return;
          block.push(payload);
          if ((flags & 4) === 0) return;
          const fields = decoder.decode(Buffer.concat(block), LIMIT);
          block = [];
          answers.push(Object.fromEntries(fields.map(({ name, value }) => [name, value])));
          if (answers.length === 4) resolve();
        },
        data: () => {},
      });
      socket.on('data', (chunk: Buffer) => {
        try {
          reader.push(chunk);
        } catch (error) {
          reject(error);
        }
      });
      for (const [n, path] of ['/a', '/a', '/b', '/a'].entries()) ask(1 + 2 * n, path);
    });
    socket.destroy();
    const sorted = answers.sort((a, b) => Object.keys(a).join().localeCompare(Object.keys(b).join()));
    for (const answer of sorted) {
      const path = Object.keys(answer)
        .find((name) => name.startsWith('x-0-'))!
        .slice(4);
      for (const [n, value] of values.entries()) expect(answer[`x-${n}-${path}`]).toBe(value.trim());
    }
  });
});

describe('an encoder', () => {
  test('is understood by nghttp2, first and again', async () => {
    const seen: Record<string, unknown>[] = [];
    server = createServer((request, response) => {
      seen.push({ ...request.headers });
      response.end();
    });
    await new Promise<void>((resolve) => server!.listen(0, '127.0.0.1', resolve));
    const { port } = server.address() as AddressInfo;
    const socket = connect(port, '127.0.0.1');
    socket.resume();
    socket.write(Buffer.concat([HTTP2_PREFACE, frame(FRAME.settings, 0, 0, Buffer.alloc(0))]));
    const encoder = new HeaderEncoder();
    const token = `head.${'t'.repeat(900)}.sig`;
    for (let n = 0; n < 50; n++) {
      const fields: EncodedField[] = [
        ...[
          { name: ':method', value: 'GET' },
          { name: ':scheme', value: 'https' },
          { name: ':authority', value: 'orders' },
        ],
        ...[
          { name: 'x-meshpass-token', value: token },
          { name: 'accept', value: '*/*' },
        ],
        ...[
          { name: 'authorization', value: 'Bearer secret', sensitive: true },
          { name: 'x-empty', value: '' },
        ],
        { name: 'x-request-id', value: String(n % 7) },
      ];
      const block = encoder.encode([{ name: ':path', value: `/${n}` }], `key ${n % 7}`, () => fields);
      socket.write(Buffer.concat(headersFrames(1 + 2 * n, block, true)));
    }
    await expect.poll(() => seen.length).toBe(50);
    socket.destroy();
    for (const [n, headers] of seen.entries()) {
      expect(headers).toMatchObject({
        ...{ ':path': `/${n}`, ':authority': 'orders', 'x-meshpass-token': token, accept: '*/*' },
        ...{ authorization: 'Bearer secret', 'x-empty': '', 'x-request-id': String(n % 7) },
      });
    }
  });

  test('sends a long token twice, and then a byte for it', () => {
    const encoder = new HeaderEncoder();
    const lengths = Array.from(
      { length: 4 },
      (_, n) => encoder.encode([], `key ${n}`, () => [{ name: 'x-meshpass-token', value: 't'.repeat(900) }]).length,
    );
    expect(lengths[0]).toBeGreaterThan(900);
    expect(lengths[1]).toBeGreaterThan(900);
    expect(lengths.slice(2)).toEqual([1, 1]);
  });

  test('never indexes what is sensitive, and says so to whoever passes it on', () => {
    const encoder = new HeaderEncoder();
    const blocks = Array.from({ length: 4 }, (_, n) =>
      encoder.encode([], `key ${n}`, () => [{ name: 'cookie', value: 'pin=1234', sensitive: true }]),
    );
    for (const block of blocks) expect(block.toString('latin1')).toBe('\x1f\x11\x08pin=1234');
  });

  test('says what a decoder understands, whatever comes and goes, and whatever the size of the table', () => {
    let seed = 7;
    const random = (below: number) => {
      seed = (seed * 1_103_515_245 + 12_345) % 2 ** 31;
      return seed % below;
    };
    for (const limit of [4096, 300, 64, 0]) {
      const encoder = new HeaderEncoder();
      const decoder = new HeaderDecoder();
      for (let n = 0; n < 2000; n++) {
        if (n === 500) encoder.limitTable(limit);
        const fields = Array.from({ length: 1 + random(8) }, () => {
          const pick = random(3);
          if (pick === 0) return STATIC_TABLE[14 + random(40)]!;
          if (pick === 1) return { name: `x-${random(20)}`, value: 'v'.repeat(random(60)) };
          return { name: 'x-long', value: String(random(3)).repeat(200 + random(2)) };
        }).filter(({ name }) => name !== 'transfer-encoding');
        const key = fields.map(({ name, value }) => `${name}: ${value}`).join('\n');
        const varying = [{ name: 'x-path', value: String(random(100)) }];
        expect(
          decoder.decode(
            encoder.encode(varying, key, () => fields),
            LIMIT,
          ),
        ).toMatchObject([...varying, ...fields]);
      }
    }
  });
});
