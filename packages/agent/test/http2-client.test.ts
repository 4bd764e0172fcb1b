/** The client's HTTP/2 connection against servers that do what they must not, and against what they may. */
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { Http2Client } from '../src/http2-client.ts';
import { FLAG, FRAME, FrameReader, frame, numberFrame } from '../src/http2-frame.ts';
import type { ResponseHead } from '../src/http2-response.ts';
import { STREAM_WINDOW, type StreamOwner } from '../src/http2-stream.ts';

interface Sent {
  readonly type: number;
  readonly flags: number;
  readonly stream: number;
  readonly payload: Buffer;
}

class Owner implements StreamOwner {
  readonly heads: ResponseHead[] = [];
  body = '';
  trailerLines: string | undefined;
  ended = 0;
  unprocessed: boolean | undefined;
  writables = 0;

  head(head: ResponseHead, end: boolean): void {
    this.heads.push(head);
    if (end) this.ended += 1;
  }
  data(bytes: Buffer, end: boolean): void {
    this.body += bytes.toString('latin1');
    if (end) this.ended += 1;
  }
  trailers(lines: string): void {
    this.trailerLines = lines;
    this.ended += 1;
  }
  settled(): void {}
  writable(): void {
    this.writables += 1;
  }
  failed(unprocessed: boolean): void {
    this.unprocessed = unprocessed;
  }
}

const GET = {
  varying: [{ name: ':path', value: '/' }],
  key: 'GET',
  steady: () => [
    { name: ':method', value: 'GET' },
    { name: ':scheme', value: 'https' },
    { name: ':authority', value: 'orders.shop' },
  ],
};
const OK = Buffer.of(0x88);
const SETTINGS = frame(FRAME.settings, 0, 0, Buffer.alloc(0));

let server: Server;
let peer: Socket;
let client: Http2Client;
let socket: Socket;
let sent: Sent[];
let rests: number;

beforeEach(async () => {
  sent = [];
  rests = 0;
  let preface = 24;
  const reader = new FrameReader({
    frame: (type, flags, stream, payload) => sent.push({ type, flags, stream, payload: Buffer.from(payload) }),
    data: (stream, payload, _counted, end) =>
      sent.push({ type: FRAME.data, flags: end ? 1 : 0, stream, payload: Buffer.from(payload) }),
  });
  const accepted = new Promise<Socket>((resolve) => {
    server = createServer((one) => {
      one.on('error', () => {});
      one.on('data', (chunk: Buffer) => {
        const skipped = Math.min(preface, chunk.length);
        preface -= skipped;
        reader.push(chunk.subarray(skipped));
      });
      resolve(one);
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  socket = connect((server.address() as AddressInfo).port, '127.0.0.1');
  client = new Http2Client(socket, () => {
    rests += 1;
  });
  peer = await accepted;
});
afterEach(() => {
  client.destroy();
  peer.destroy();
  server.close();
});

const say = (...frames: Buffer[]) => peer.write(Buffer.concat(frames));
const headers = (stream: number, block: Buffer, flags: number = FLAG.endHeaders) =>
  frame(FRAME.headers, flags, stream, block);
const data = (stream: number, text: string | Buffer, flags = 0) =>
  frame(FRAME.data, flags, stream, Buffer.from(text as string));
const came = (type: number, stream?: number) =>
  sent.filter((one) => one.type === type && (stream === undefined || one.stream === stream));
const setting = (id: number, value: number) => {
  const payload = Buffer.alloc(6);
  payload.writeUInt32BE(value, payload.writeUInt16BE(id));
  return frame(FRAME.settings, 0, 0, payload);
};

describe('an exchange', () => {
  test('is told head, body and end; frames may come in pieces of a byte', async () => {
    const owner = new Owner();
    client.request(GET, true, owner);
    const answer = Buffer.concat([
      SETTINGS,
      headers(
        1,
        Buffer.concat([
          Buffer.of(0x08, 0x03),
          Buffer.from('103'),
          Buffer.of(0x00, 0x04),
          Buffer.from('link'),
          Buffer.of(0x01),
          Buffer.from('x'),
        ]),
      ),
      headers(1, Buffer.concat([OK, Buffer.of(0x0f, 0x0d, 0x01), Buffer.from('5')])),
      frame(FRAME.data, FLAG.padded, 1, Buffer.from('\x03hel\0\0\0')),
      data(1, 'lo', FLAG.endStream),
    ]);
    for (const byte of answer) {
      peer.write(Buffer.of(byte));
      await new Promise((resolve) => setImmediate(resolve));
    }
    await expect.poll(() => owner.ended).toBe(1);
    expect(owner.heads).toEqual([
      { status: 103, lines: 'link: x\r\n', length: undefined },
      { status: 200, lines: 'content-length: 5\r\n', length: 5 },
    ]);
    expect(owner.body).toBe('hello');
    expect([client.size, rests]).toEqual([0, 1]);
  });

  test('many of one turn leave in one write', async () => {
    let reads = 0;
    peer.on('data', () => {
      reads += 1;
    });
    await expect.poll(() => came(FRAME.settings).length).toBe(1);
    reads = 0;
    for (let n = 0; n < 20; n++) client.request(GET, true, new Owner());
    await expect.poll(() => came(FRAME.headers).length).toBe(20);
    expect(reads).toBe(1);
  });

  test('ends with trailers, which may come in a CONTINUATION', async () => {
    const owner = new Owner();
    client.request(GET, true, owner);
    const trailer = Buffer.concat([Buffer.of(0x00, 0x01), Buffer.from('t'), Buffer.of(0x01), Buffer.from('v')]);
    say(
      ...[SETTINGS, headers(1, OK), data(1, 'x'), headers(1, trailer.subarray(0, 2), FLAG.endStream)],
      frame(FRAME.continuation, FLAG.endHeaders, 1, trailer.subarray(2)),
    );
    await expect.poll(() => owner.ended).toBe(1);
    expect([owner.body, owner.trailerLines]).toEqual(['x', 't: v\r\n']);
  });

  test('that nobody waits for is cancelled, and what still comes for it is ignored', async () => {
    const [gone, stays] = [new Owner(), new Owner()];
    const stream = client.request(GET, true, gone);
    client.request(GET, true, stays);
    stream.cancel();
    await expect.poll(() => came(FRAME.reset, 1).map(({ payload }) => payload.readUInt32BE())).toEqual([0x8]);
    const indexed = Buffer.concat([OK, Buffer.of(0x40, 0x01), Buffer.from('a'), Buffer.of(0x01), Buffer.from('b')]);
    say(SETTINGS, headers(1, indexed), data(1, 'late', FLAG.endStream), headers(3, Buffer.of(0x88, 0xbe), 5));
    await expect.poll(() => stays.ended).toBe(1);
    expect(stays.heads[0]!.lines).toBe('a: b\r\n'); // the table has followed
    expect([gone.heads.length, gone.body, gone.unprocessed]).toEqual([0, '', undefined]);
  });
});

describe('a body', () => {
  test('waits for the windows of its stream and of the connection, and goes on as they open', async () => {
    const owner = new Owner();
    say(setting(0x4, 10));
    await expect.poll(() => came(FRAME.settings).length).toBe(2);
    const stream = client.request({ ...GET, key: 'POST' }, false, owner);
    const body = 'b'.repeat(100_000);
    const dataSent = () => came(FRAME.data, 1).reduce((sum, { payload }) => sum + payload.length, 0);
    expect(stream.write(Buffer.from(body), true)).toBe(false);
    await expect.poll(dataSent).toBe(10);
    say(numberFrame(FRAME.windowUpdate, 1, 1_000_000));
    await expect.poll(dataSent).toBe(65_535);
    say(numberFrame(FRAME.windowUpdate, 0, 1_000_000));
    await expect.poll(dataSent).toBe(100_000);
    const frames = came(FRAME.data, 1);
    expect(Buffer.concat(frames.map(({ payload }) => payload)).toString()).toBe(body);
    expect(frames.map(({ flags }) => flags).join('')).toMatch(/^0+1$/);
    expect(frames.every(({ payload }) => payload.length <= 16_384)).toBe(true);
  });

  test('a smaller window by SETTINGS counts for streams that are open (RFC 9113 section 6.9.2)', async () => {
    const stream = client.request(GET, false, new Owner());
    stream.write(Buffer.alloc(1000), false);
    await expect.poll(() => came(FRAME.data).length).toBe(1);
    say(setting(0x4, 500));
    await expect.poll(() => came(FRAME.settings).length).toBe(2);
    expect(stream.write(Buffer.alloc(100), false)).toBe(false);
    say(numberFrame(FRAME.windowUpdate, 1, 600));
    await expect.poll(() => came(FRAME.data).length).toBe(2);
  });

  test('is not sent any further when the response has ended', async () => {
    const owner = new Owner();
    say(setting(0x4, 10));
    await expect.poll(() => came(FRAME.settings).length).toBe(2);
    const stream = client.request(GET, false, owner);
    stream.write(Buffer.alloc(100), true);
    say(headers(1, OK, FLAG.endHeaders | FLAG.endStream));
    await expect.poll(() => owner.ended).toBe(1);
    await expect.poll(() => came(FRAME.reset, 1).length).toBe(1);
    expect([client.size, owner.unprocessed]).toEqual([0, undefined]);
  });

  test('that cannot leave is not piled up, however large the windows are', async () => {
    say(setting(0x4, 0x7fffffff), numberFrame(FRAME.windowUpdate, 0, 0x7fffffff - 65_535));
    await expect.poll(() => came(FRAME.settings).length).toBe(2);
    peer.pause();
    const owner = new Owner();
    const stream = client.request(GET, false, owner);
    const block = Buffer.alloc(65_536);
    let given = 0;
    const give = () => {
      given += block.length;
      if (stream.write(block, false) && given < 1e9) setImmediate(give);
    };
    give();
    await expect.poll(() => socket.writableNeedDrain).toBe(true);
    let before = -1;
    await expect
      .poll(
        () => {
          const still = given === before;
          before = given;
          return still;
        },
        { interval: 200 },
      )
      .toBe(true);
    expect(given).toBeLessThan(64 * 1024 * 1024); // what the kernel holds, and a block or two
    peer.resume();
    await expect.poll(() => owner.writables).toBeGreaterThan(0);
  });

  test('of a response stops at the window while its owner takes nothing, others go on', async () => {
    const [slow, quick] = [new Owner(), new Owner()];
    const stream = client.request(GET, true, slow);
    client.request(GET, true, quick);
    stream.pause();
    const block = Buffer.alloc(16_384, 'x');
    say(SETTINGS, headers(1, OK), ...Array.from({ length: STREAM_WINDOW / block.length }, () => data(1, block)));
    say(headers(3, OK), data(3, 'quick', FLAG.endStream));
    await expect.poll(() => quick.ended).toBe(1);
    expect([slow.body.length, came(FRAME.windowUpdate, 1).length]).toEqual([STREAM_WINDOW, 0]);
    stream.resume();
    await expect
      .poll(() => came(FRAME.windowUpdate, 1).map(({ payload }) => payload.readUInt32BE()))
      .toEqual([STREAM_WINDOW]);
  });

  test('of a response that overruns the window ends the connection', async () => {
    const owner = new Owner();
    client.request(GET, true, owner).pause();
    const block = Buffer.alloc(16_384, 'x');
    say(SETTINGS, headers(1, OK), ...Array.from({ length: STREAM_WINDOW / block.length + 1 }, () => data(1, block)));
    await expect.poll(() => owner.unprocessed).toBe(false);
    expect(client.over).toBe(true);
  });
});

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
