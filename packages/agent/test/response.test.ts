import { describe, expect, test } from 'vitest';
import { isPolicyRefusal } from '../src/refusal.ts';
import { ResponseTracker } from '../src/response.ts';

const expected = (method = 'GET') => ({ method, path: '/', accept: undefined, upgrade: false });

/** Feeds the bytes split at every offset; the outcome must not depend on it. */
function everySplit(methods: readonly string[], text: string, check: (tracker: ResponseTracker) => void): void {
  const bytes = Buffer.from(text, 'latin1');
  for (let at = 0; at <= bytes.length; at++) {
    const tracker = new ResponseTracker();
    for (const method of methods) tracker.expect(expected(method));
    tracker.observe(bytes.subarray(0, at));
    tracker.observe(bytes.subarray(at));
    check(tracker);
  }
}

describe('a connection rests again after', () => {
  test.each([
    ['a body with a length', ['GET'], 'HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello'],
    ['a chunked body', ['GET'], 'HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n'],
    ['an interim response', ['GET'], 'HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n'],
    ['HEAD, whose length is not sent', ['HEAD'], 'HTTP/1.1 200 OK\r\ncontent-length: 5000\r\n\r\n'],
    [
      '204 and 304',
      ['GET', 'GET'],
      'HTTP/1.1 204 No Content\r\n\r\nHTTP/1.1 304 Not Modified\r\ncontent-length: 9\r\n\r\n',
    ],
    [
      'two answers to two requests',
      ['GET', 'POST'],
      'HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\naHTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\nb',
    ],
  ])('%s', (_, methods, text) => {
    everySplit(methods, text, (tracker) => {
      expect(tracker.idle).toBe(true);
      expect(tracker.closing).toBe(false);
    });
  });
});

describe('a connection carries nothing more after', () => {
  test.each([
    ['a body until the end of the connection', 'HTTP/1.1 200 OK\r\n\r\nabc'],
    ['Connection: close', 'HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 1\r\n\r\na'],
    ['HTTP/1.0', 'HTTP/1.0 200 OK\r\ncontent-length: 1\r\n\r\na'],
    ['what is not HTTP', 'SSH-2.0-OpenSSH_9.9 200\r\n\r\n'],
    ['bytes that nobody asked for', 'HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\naHTTP/1.1 200 OK\r\n\r\n'],
  ])('%s', (_, text) => {
    everySplit(['GET'], text, (tracker) => expect(tracker.closing).toBe(true));
  });
});

test('101 makes the rest another protocol', () => {
  everySplit(['GET'], 'HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\n\r\n\x81\x05hello', (tracker) => {
    expect(tracker.switched).toBe(true);
    expect(tracker.idle).toBe(false);
  });
});

describe('the refusal of a policy is told apart', () => {
  const refusal = 'HTTP/1.1 403 Forbidden\r\ncontent-length: 19\r\ncontent-type: text/plain\r\n\r\nRBAC: access denied';

  test('whole, and in part at every length', () => {
    expect(isPolicyRefusal(Buffer.from(refusal))).toBe(true);
    for (let length = 1; length < refusal.length; length++) {
      expect(isPolicyRefusal(Buffer.from(refusal.slice(0, length)))).toBe('part');
    }
  });

  test.each([
    ['a 403 of the application', refusal.replace('RBAC: access denied', 'Sorry, not for you.')],
    ['another length', refusal.replace('19', '20')],
    ['another status', refusal.replace('403 Forbidden', '401 Unauthorized')],
    ['bytes after it', `${refusal}HTTP/1.1 200 OK\r\n`],
  ])('not %s', (_, text) => {
    expect(isPolicyRefusal(Buffer.from(text))).toBe(false);
  });
});
