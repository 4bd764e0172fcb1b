import { describe, expect, test } from 'vitest';
import { type ConnectResult, createConnectReader } from '../src/tunnel/connect.ts';

const GOOD = 'CONNECT orders.shop.svc.cluster.local:8080 HTTP/1.1\r\nHost: orders.shop.svc.cluster.local:8080\r\n\r\n';

const SNI = 'outbound_.8080_._.orders.shop.svc.cluster.local';
const withAuthority = (authority: string) => GOOD.replaceAll('orders.shop.svc.cluster.local:8080', authority);

function read(text: string): ConnectResult {
  return createConnectReader(4096).push(Buffer.from(text, 'latin1'));
}

describe('createConnectReader', () => {
  test('reads a CONNECT request and ignores other headers', () => {
    const target = 'orders.shop.svc.cluster.local:8080';
    const destination = { target, sni: 'outbound_.8080_._.orders.shop.svc.cluster.local', bySni: false };
    const done = { state: 'done', destination, rest: Buffer.alloc(0) };
    expect(read(GOOD)).toEqual(done);
    expect(read(GOOD.replace('\r\nHost:', '\r\nUser-Agent: meshpass/1 (x)\r\nHOST:\t'))).toEqual(done);
  });

  test.each(['', 'v2'])('reads an SNI of subset "%s"', (subset) => {
    const sni = `outbound_.8080_.${subset}_.orders.shop.svc.cluster.local`;
    expect(read(GOOD.replaceAll('orders.shop.svc.cluster.local:8080', `${sni}:15443`))).toMatchObject({
      state: 'done',
      destination: { target: 'orders.shop.svc.cluster.local:8080', sni, bySni: true },
    });
  });

  test('separates the head from the bytes that follow', () => {
    const rest = Buffer.from([22, 3, 1, 0, 13, 10, 13, 10, 255]);
    for (const cut of [1, GOOD.length - 3, GOOD.length, GOOD.length + 4]) {
      const bytes = Buffer.concat([Buffer.from(GOOD), rest]);
      const reader = createConnectReader(4096);
      const first = reader.push(bytes.subarray(0, cut));
      if (first.state === 'done') expect(first.rest).toEqual(bytes.subarray(GOOD.length, cut));
      else expect(reader.push(bytes.subarray(cut))).toMatchObject({ state: 'done', rest });
    }
  });

  test('counts only the head against the limit', () => {
    const reader = createConnectReader(GOOD.length);
    expect(reader.push(Buffer.from(GOOD + 'x'.repeat(5000))).state).toBe('done');
  });

  test('reads pieces of any size, and needs more until the end', () => {
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
    ['after a blank line', `\r\n${GOOD}`],
    ['of HTTP/1.0', GOOD.replace('HTTP/1.1', 'HTTP/1.0')],
    ['of HTTP/2', 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'],
    ['with two spaces', GOOD.replace(' HTTP', '  HTTP')],
    ['without a port', GOOD.replaceAll(':8080', '')],
    ['with port 0', GOOD.replaceAll(':8080', ':0')],
    ['with a port above 65535', GOOD.replaceAll(':8080', ':65536')],
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
    ['longer than the limit', GOOD.replace(host, `${host}\r\nX: ${'a'.repeat(4096)}`)],
    ['that never ends', `CONNECT ${'a'.repeat(5000)}`],
    ['with an SNI at another port', GOOD.replaceAll('orders.shop', 'outbound_.8080_._.orders.shop')],
    ['with an SNI without a port', withAuthority(SNI)],
    ['with an SNI in capital letters', withAuthority(`${SNI.toUpperCase()}:15443`)],
    ['with an SNI at port 015443', withAuthority(`${SNI}:015443`)],
    ['with an SNI and two ports', withAuthority(`${SNI}:15443:15443`)],
    ['with an SNI that has a leading zero', withAuthority(`${SNI.replace('8080', '08080')}:15443`)],
    ['with an SNI whose subset is not a label', withAuthority(`${SNI.replace('._.', '.v_2_.')}:15443`)],
    [
      'with an SNI and another Host',
      withAuthority(`${SNI}:15443`).replace('Host: outbound_.8080', 'Host: outbound_.9090'),
    ],
    ['with an SNI and its target as Host', withAuthority(`${SNI}:15443`).replace(`Host: ${SNI}:15443`, host)],
  ])('rejects a request %s', (_name, text) => {
    expect(read(text).state).toBe('error');
  });

  test('rejects a request at its first wrong byte', () => {
    expect(read('CONNEX').state).toBe('error');
    expect(read('\x16\x03').state).toBe('error');
  });
});
