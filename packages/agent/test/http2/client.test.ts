import { describe, expect, test } from 'vitest';
import { FLAG, FRAME, frame, numberFrame } from '../../src/http2-frame.ts';
import { STREAM_WINDOW } from '../../src/http2-stream.ts';
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
  rests,
  SETTINGS,
  say,
  setting,
  socket,
} from './peer.ts';

eachTestHasAPeer();

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
