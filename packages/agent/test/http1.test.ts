import { describe, expect, test } from 'vitest';
import { type RequestHead, RequestReader, writeHead } from '../src/http1.ts';

const INSERTED = 'x-meshpass-token: T\r\n';

/** Everything that goes on, in one string, when the bytes arrive in the given pieces. */
function passOn(pieces: readonly Buffer[], afterUpgrade?: boolean): { out: string; heads: RequestHead[] } {
  const reader = new RequestReader('x-meshpass-token');
  const heads: RequestHead[] = [];
  let out = '';
  for (const piece of pieces) {
    reader.push(piece);
    for (let next = reader.read(); next; next = reader.read()) {
      if (next.head) {
        heads.push(next.head);
        out += writeHead(next.head, next.head.target, INSERTED).toString('latin1');
        if (next.head.upgrade && afterUpgrade !== undefined) reader.decideUpgrade(afterUpgrade);
      } else {
        out += next.bytes.toString('latin1');
      }
    }
  }
  return { out, heads };
}

const GET = 'GET /orders/1?x=%20 HTTP/1.1\r\nHost: orders.shop:8080\r\nAccept: */*\r\n\r\n';
const POST = 'POST /refunds HTTP/1.1\r\nHost: a\r\nContent-Length: 11\r\nExpect: 100-continue\r\n\r\nhello\r\n\r\nGE';
const CHUNKED =
  'PUT /x HTTP/1.1\r\nhost: a\r\nTransfer-Encoding: Chunked\r\n\r\n5;ext="q"\r\nhello\r\n00a\r\n0123456789\r\n0\r\nX-Sum: 1\r\n\r\n';

function withToken(request: string): string {
  return request.replace('HTTP/1.1\r\n', `HTTP/1.1\r\n${INSERTED}`);
}

describe('what passes', () => {
  const pipelined = GET + POST + CHUNKED + GET;
  const expected = [GET, POST, CHUNKED, GET].map(withToken).join('');

  test('one header is put in, every other byte stays, at whatever offset the bytes are split', () => {
    const bytes = Buffer.from(pipelined, 'latin1');
    for (let at = 0; at <= bytes.length; at++) {
      expect(passOn([bytes.subarray(0, at), bytes.subarray(at)]).out).toBe(expected);
    }
  });

  test('also byte by byte, and in random pieces', () => {
    const bytes = Buffer.from(pipelined, 'latin1');
    expect(passOn(Array.from(bytes, (byte) => Buffer.of(byte))).out).toBe(expected);
    let seed = 42;
    const random = () => {
      seed = (seed * 1103515245 + 12345) % 2147483648;
      return seed / 2147483648;
    };
    for (let round = 0; round < 200; round++) {
      const pieces: Buffer[] = [];
      for (let at = 0; at < bytes.length; ) {
        const size = 1 + Math.floor(random() * 40);
        pieces.push(bytes.subarray(at, at + size));
        at += size;
      }
      expect(passOn(pieces).out).toBe(expected);
    }
  });

  test.each([
    ['a token that the client sends', 'X-Meshpass-Token: forged\r\n'],
    ['two of them', 'x-meshpass-token:a\r\nX-MESHPASS-TOKEN: b\r\n'],
    ['credentials for a proxy', 'Proxy-Authorization: Basic eA==\r\n'],
    ['a connection option for a proxy', 'Proxy-Connection: keep-alive\r\n'],
  ])('%s is left out', (_, lines) => {
    const { out } = passOn([Buffer.from(`GET / HTTP/1.1\r\nHost: a\r\n${lines}Accept: b\r\n\r\n`)]);
    expect(out).toBe(`GET / HTTP/1.1\r\n${INSERTED}Host: a\r\nAccept: b\r\n\r\n`);
  });

  test('an empty line before a request is skipped', () => {
    expect(passOn([Buffer.from(`\r\n${GET}`)]).out).toBe(withToken(GET));
  });

  test('HTTP/1.0 without Host', () => {
    expect(passOn([Buffer.from('GET / HTTP/1.0\r\n\r\n')]).out).toBe(`GET / HTTP/1.0\r\n${INSERTED}\r\n`);
  });

  test('after a refused upgrade the next bytes are a request again', () => {
    const upgrade = 'GET /ws HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\r\n';
    expect(passOn([Buffer.from(upgrade + GET)], false).out).toBe(withToken(upgrade) + withToken(GET));
  });

  test('after 101 the bytes are another protocol and pass as they are', () => {
    const upgrade = 'GET /ws HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n';
    expect(passOn([Buffer.from(upgrade + GET)], true).out).toBe(withToken(upgrade) + GET);
  });

  test('while an upgrade is undecided nothing after it goes on', () => {
    const upgrade = 'GET /ws HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: h2c\r\nContent-Length: 2\r\n\r\nhi';
    expect(passOn([Buffer.from(`${upgrade}PRI * HTTP/2.0`)]).out).toBe(withToken(upgrade));
  });
});

describe('what is refused, because two parsers could read it in two ways', () => {
  test.each([
    ['both lengths', 'POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n'],
    ['two Content-Lengths', 'POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\nabc'],
    ['a list of lengths', 'POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3, 3\r\n\r\nabc'],
    ['a signed length', 'POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +3\r\n\r\nabc'],
    ['a hexadecimal length', 'POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0x3\r\n\r\nabc'],
    ['a coding that only ends in chunked', 'POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n'],
    ['a coding that is almost chunked', 'POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n'],
    ['chunked in HTTP/1.0', 'POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n'],
    ['a space before the colon', 'POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding : chunked\r\n\r\n'],
    ['a folded line', 'GET / HTTP/1.1\r\nHost: a\r\nX-A: b\r\n Transfer-Encoding: chunked\r\n\r\n'],
    ['a line feed alone', 'GET / HTTP/1.1\r\nHost: a\r\nX-A: b\nContent-Length: 3\r\n\r\n'],
    ['a carriage return alone', 'GET / HTTP/1.1\r\nHost: a\r\nX-A: b\rContent-Length: 3\r\n\r\n'],
    ['a zero byte', 'GET / HTTP/1.1\r\nHost: a\r\nX-A: b\0\r\n\r\n'],
    ['a line without a colon', 'GET / HTTP/1.1\r\nHost: a\r\nX-A\r\n\r\n'],
    ['no Host', 'GET / HTTP/1.1\r\nAccept: b\r\n\r\n'],
    ['two Hosts', 'GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n'],
    ['HTTP/0.9', 'GET /\r\n\r\n'],
    ['two spaces in the first line', 'GET  / HTTP/1.1\r\nHost: a\r\n\r\n'],
    ['a tab in the first line', 'GET\t/ HTTP/1.1\r\nHost: a\r\n\r\n'],
    ['HTTP/2 in the first line', 'GET / HTTP/2.0\r\nHost: a\r\n\r\n'],
    ['a chunk size that is none', `${'POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n'}-1\r\n`],
    ['a chunk size with a space', `${'POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n'} 5\r\n`],
    [
      'a chunk that ends with a line feed',
      'POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\na\n0\n\n',
    ],
    ['data after a chunk', 'POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nabc\r\n'],
    [
      'the token as a trailer',
      'POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX-Meshpass-Token: x\r\n\r\n',
    ],
  ])('%s', (_, request) => {
    expect(() => passOn([Buffer.from(request, 'latin1')])).toThrow(
      expect.objectContaining({ code: 'request_malformed' }),
    );
  });

  test('a head that never ends', () => {
    const endless = Buffer.alloc(70_000, 'a');
    expect(() => passOn([endless])).toThrow(expect.objectContaining({ code: 'request_too_large' }));
  });
});
