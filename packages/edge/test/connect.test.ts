import { describe, expect, test } from 'vitest';
import { type ConnectResult, createConnectReader } from '../src/tunnel/connect.ts';

const GOOD = 'CONNECT orders.shop.svc.cluster.local:8080 HTTP/1.1\r\nHost: orders.shop.svc.cluster.local:8080\r\n\r\n';

function read(text: string): ConnectResult {
  return createConnectReader(4096).push(Buffer.from(text, 'latin1'));
}

describe('a CONNECT request', () => {
  test('is read, other headers aside', () => {
    const target = { host: 'orders.shop.svc.cluster.local', port: 8080 };
    const done = { state: 'done', target, authority: 'orders.shop.svc.cluster.local:8080' };
    expect(read(GOOD)).toEqual(done);
    expect(read(GOOD.replace('\r\nHost:', '\r\nUser-Agent: meshpass/1 (x)\r\nHOST:\t'))).toEqual(done);
  });

  test('is read in pieces of any size, and needs more until its end', () => {
    for (const step of [1, 2, 3, 50]) {
      const reader = createConnectReader(4096);
      let result: ConnectResult = { state: 'more' };
      for (let at = 0; at < GOOD.length; at += step) {
        expect(result.state).toBe('more');
        result = reader.push(Buffer.from(GOOD.slice(at, at + step)));
      }
      expect(result.state).toBe('done');
    }
  });

  const host = 'Host: orders.shop.svc.cluster.local:8080';
  test.each([
    ['of another method', GOOD.replace('CONNECT', 'GET')],
    ['in lower case', GOOD.replace('CONNECT', 'connect')],
    ['behind a blank line', `\r\n${GOOD}`],
    ['of HTTP/1.0', GOOD.replace('HTTP/1.1', 'HTTP/1.0')],
    ['of HTTP/2', 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'],
    ['with two spaces', GOOD.replace(' HTTP', '  HTTP')],
    ['without a port', GOOD.replaceAll(':8080', '')],
    ['with port 0', GOOD.replaceAll(':8080', ':0')],
    ['with a port beyond 65535', GOOD.replaceAll(':8080', ':65536')],
    ['with a port that has a leading zero', GOOD.replaceAll(':8080', ':08080')],
    ['with an IPv6 address', GOOD.replaceAll('orders.shop.svc.cluster.local', '[::1]')],
    ['with user information', GOOD.replaceAll('orders', 'a@orders')],
    ['in capital letters', GOOD.replaceAll('orders', 'ORDERS')],
    ['with a URL', GOOD.replace('orders', 'https://orders')],
    ['without Host', GOOD.replace(`${host}\r\n`, '')],
    ['with another Host', GOOD.replace(host, 'Host: web.dev:80')],
    ['with two Hosts', GOOD.replace(host, `${host}\r\n${host}`)],
    ['with a body', GOOD.replace(host, `${host}\r\nContent-Length: 1`)],
    ['with chunks', GOOD.replace(host, `${host}\r\nTransfer-Encoding: chunked`)],
    ['with a folded header', GOOD.replace(host, `${host}\r\nX: a\r\n b`)],
    ['with a space before the colon', GOOD.replace(host, `${host}\r\nX : a`)],
    ['with a NUL', GOOD.replace(host, `${host}\r\nX: \0`)],
    ['with a bare CR', GOOD.replace(host, `${host}\r\nX: a\rY: b`)],
    ['with a bare LF', GOOD.replace(host, `${host}\r\nX: a\nY: b`)],
    ['with bytes behind its head', `${GOOD}x`],
    ['longer than the limit', GOOD.replace(host, `${host}\r\nX: ${'a'.repeat(4096)}`)],
    ['that never ends', `CONNECT ${'a'.repeat(5000)}`],
  ])('is refused %s', (_name, text) => {
    expect(read(text).state).toBe('error');
  });

  test('is refused at its first wrong byte', () => {
    expect(read('CONNEX').state).toBe('error');
    expect(read('\x16\x03').state).toBe('error');
  });
});
