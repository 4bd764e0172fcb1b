/** The server's side of one HTTP/2 connection, said frame by frame, and the client under test. */
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net';
import { afterEach, beforeEach } from 'vitest';
import { Http2Client } from '../../src/http2-client.ts';
import { FLAG, FRAME, FrameReader, frame } from '../../src/http2-frame.ts';
import type { ResponseHead } from '../../src/http2-response.ts';
import type { StreamOwner } from '../../src/http2-stream.ts';

export interface Sent {
  readonly type: number;
  readonly flags: number;
  readonly stream: number;
  readonly payload: Buffer;
}

export class Owner implements StreamOwner {
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

export const GET = {
  varying: [{ name: ':path', value: '/' }],
  key: 'GET',
  steady: () => [
    { name: ':method', value: 'GET' },
    { name: ':scheme', value: 'https' },
    { name: ':authority', value: 'orders.shop' },
  ],
};
export const OK = Buffer.of(0x88);
export const SETTINGS = frame(FRAME.settings, 0, 0, Buffer.alloc(0));

let server: Server;
export let peer: Socket;
export let client: Http2Client;
export let socket: Socket;
export let sent: Sent[];
export let rests: number;

/** A client of a server that the test plays frame by frame, anew for each test of the file that calls this. */
export function eachTestHasAPeer(): void {
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
}

export const say = (...frames: Buffer[]) => peer.write(Buffer.concat(frames));
export const headers = (stream: number, block: Buffer, flags: number = FLAG.endHeaders) =>
  frame(FRAME.headers, flags, stream, block);
export const data = (stream: number, text: string | Buffer, flags = 0) =>
  frame(FRAME.data, flags, stream, Buffer.from(text as string));
export const came = (type: number, stream?: number) =>
  sent.filter((one) => one.type === type && (stream === undefined || one.stream === stream));
export const setting = (id: number, value: number) => {
  const payload = Buffer.alloc(6);
  payload.writeUInt32BE(value, payload.writeUInt16BE(id));
  return frame(FRAME.settings, 0, 0, payload);
};
