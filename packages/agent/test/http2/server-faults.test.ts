/** What a server does on an HTTP/2 connection, allowed and not. */
import { type AddressInfo, connect, createServer } from 'node:net';
import { describe, expect, test } from 'vitest';
import { Http2Client } from '../../src/http2-client.ts';
import { FLAG, FRAME, FrameReader, frame, numberFrame } from '../../src/http2-frame.ts';
import {
  came,
  client,
  data,
  eachTestHasAPeer,
  GET,
  headers,
  OK,
  Owner,
  peer,
  SETTINGS,
  say,
  setting,
  socket,
} from './peer.ts';

eachTestHasAPeer();

describe('a server', () => {
  test('that refuses a stream has done nothing with it', async () => {
    const [refused, reset] = [new Owner(), new Owner()];
    client.request(GET, true, refused);
    client.request(GET, true, reset);
    say(SETTINGS, numberFrame(FRAME.reset, 1, 0x7), numberFrame(FRAME.reset, 3, 0x2));
    await expect.poll(() => [refused.unprocessed, reset.unprocessed]).toEqual([true, false]);
    expect(client.ready).toBe(true);
  });

  test('that goes away finishes what it names, has done nothing with the rest, and gets no more', async () => {
    const [first, second] = [new Owner(), new Owner()];
    client.request(GET, true, first);
    client.request(GET, true, second);
    const payload = Buffer.alloc(8);
    payload.writeUInt32BE(1);
    say(SETTINGS, frame(FRAME.goaway, 0, 0, payload));
    await expect.poll(() => second.unprocessed).toBe(true);
    expect([client.ready, client.over, first.unprocessed]).toEqual([false, true, undefined]);
    say(headers(1, OK), data(1, 'whole', FLAG.endStream));
    await expect.poll(() => first.ended).toBe(1);
    expect(first.body).toBe('whole');
    await expect.poll(() => socket.destroyed).toBe(true);
  });

  test('that closes has broken off what was under way', async () => {
    const owner = new Owner();
    client.request(GET, true, owner);
    say(SETTINGS, headers(1, OK), data(1, 'part'));
    await expect.poll(() => owner.body).toBe('part');
    peer.end();
    await expect.poll(() => owner.unprocessed).toBe(false);
    expect(owner.ended).toBe(0);
  });

  test('says how many streams it takes', async () => {
    say(setting(0x3, 2));
    await expect.poll(() => came(FRAME.settings).length).toBe(2);
    client.request(GET, true, new Owner());
    expect(client.ready).toBe(true);
    client.request(GET, true, new Owner());
    expect([client.ready, client.over]).toEqual([false, false]);
  });

  test.each([
    ['answers is kept, however long the response takes', true],
    ['does not is given up', false],
  ])('that says nothing is asked whether it is there; one that %s', async (_what, answers) => {
    let pings = 0;
    const other = createServer((one) => {
      let preface = 24;
      const reader = new FrameReader({
        frame: (type) => {
          if (type !== FRAME.ping) return;
          pings += 1;
          if (answers) one.write(frame(FRAME.ping, FLAG.ack, 0, Buffer.alloc(8)));
        },
        data: () => {},
      });
      one.on('error', () => {});
      one.on('data', (chunk: Buffer) => {
        const skipped = Math.min(preface, chunk.length);
        preface -= skipped;
        reader.push(chunk.subarray(skipped));
      });
    });
    await new Promise<void>((resolve) => other.listen(0, '127.0.0.1', resolve));
    const asking = new Http2Client(connect((other.address() as AddressInfo).port, '127.0.0.1'), () => {}, 500);
    const owner = new Owner();
    asking.request(GET, true, owner);
    if (answers) await expect.poll(() => pings).toBeGreaterThan(2);
    else await expect.poll(() => owner.unprocessed).toBe(false);
    expect([asking.over, pings > 0]).toEqual([!answers, true]);
    asking.destroy();
    other.close();
  });

  test('has its PING and its SETTINGS answered', async () => {
    say(SETTINGS, frame(FRAME.ping, 0, 0, Buffer.from('12345678')));
    await expect.poll(() => came(FRAME.ping)).toMatchObject([{ flags: FLAG.ack, payload: Buffer.from('12345678') }]);
    expect(came(FRAME.settings)).toMatchObject([{ flags: 0 }, { flags: FLAG.ack }]);
  });

  const PING = frame(FRAME.ping, 0, 0, Buffer.alloc(8));
  test.each<[string, Buffer[]]>([
    ['floods with PING', Array.from({ length: 1000 }, () => PING)],
    ['floods with SETTINGS', Array.from({ length: 1000 }, () => SETTINGS)],
    ['floods with empty DATA', [headers(1, OK), ...Array.from({ length: 1000 }, () => data(1, ''))]],
    ['floods with interim heads', Array.from({ length: 1000 }, () => headers(1, Buffer.from('\x08\x03103')))],
    [
      'floods with empty CONTINUATION',
      [headers(1, OK, 0), ...Array.from({ length: 2000 }, () => frame(FRAME.continuation, 0, 1, Buffer.alloc(0)))],
    ],
    ['interrupts a header block', [headers(1, OK, 0), data(1, 'x')]],
    ['goes on with another block', [headers(1, OK, 0), frame(FRAME.continuation, 4, 3, OK)]],
    ['continues nothing', [frame(FRAME.continuation, 4, 1, OK)]],
    ['pushes', [frame(FRAME.push, 4, 1, Buffer.of(0, 0, 0, 2))]],
    ['opens a stream', [headers(2, OK)]],
    ['answers what was not asked', [headers(5, OK)]],
    ['sends a body before its head', [data(1, 'x')]],
    ['sends no status', [headers(1, Buffer.of(0x82))]],
    ['sends a status that is none', [headers(1, Buffer.from('\x08\x0320x'))]],
    ['switches protocols', [headers(1, Buffer.from('\x08\x03101'))]],
    ['ends with an interim head', [headers(1, Buffer.from('\x08\x03100'), 5)]],
    [
      'sends a pseudo-field after the others',
      [headers(1, Buffer.concat([OK, Buffer.of(0x00, 1), Buffer.from('a'), Buffer.of(0), OK]))],
    ],
    ['names two lengths', [headers(1, Buffer.concat([OK, Buffer.from('\x0f\x0d\x015\x0f\x0d\x016', 'latin1')]))]],
    ['names a length that is none', [headers(1, Buffer.concat([OK, Buffer.from('\x0f\x0d\x02+5', 'latin1')]))]],
    ['sends trailers that end nothing', [headers(1, OK), headers(1, Buffer.of(0x00, 1, 0x74, 0))]],
    ['sends pseudo-fields as trailers', [headers(1, OK), headers(1, OK, 5)]],
    ['sends a frame that is too long', [frame(FRAME.data, 0, 1, Buffer.alloc(16_385))]],
    ['pads beyond the end', [headers(1, OK), frame(FRAME.data, FLAG.padded, 1, Buffer.of(9, 1))]],
    ['opens a window by nothing', [numberFrame(FRAME.windowUpdate, 0, 0)]],
    ['opens the window too far', [numberFrame(FRAME.windowUpdate, 0, 0x7fffffff)]],
    ['opens a window of nothing', [numberFrame(FRAME.windowUpdate, 7, 1)]],
    ['sends a window that is too large', [setting(0x4, 0x80000000)]],
    ['sends SETTINGS of half a setting', [frame(FRAME.settings, 0, 0, Buffer.alloc(5))]],
    ['sends a short PING', [frame(FRAME.ping, 0, 0, Buffer.alloc(7))]],
    ['resets what was never opened', [numberFrame(FRAME.reset, 9, 0)]],
    ['speaks HTTP/1.1', [Buffer.from('HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n')]],
  ])('that %s loses the connection, and no response looks whole', async (_what, frames) => {
    const owner = new Owner();
    client.request(GET, true, owner);
    await expect.poll(() => came(FRAME.headers).length).toBe(1);
    say(...(frames[0]!.toString('latin1').startsWith('HTTP') ? [] : [SETTINGS]), ...frames);
    await expect.poll(() => owner.unprocessed).toBe(false);
    expect([client.over, client.size, owner.ended]).toEqual([true, 0, 0]);
    await expect.poll(() => socket.destroyed).toBe(true);
  });
});
