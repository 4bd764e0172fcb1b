/**
 * The client's side of one HTTP/2 connection (RFC 9113), made for many short exchanges at once: what is sent within one turn
 * of the event loop leaves in one write, and so in one TLS record and one read on every hop.
 */
import type { Socket } from 'node:net';
import { HeaderDecoder } from './hpack-decode.ts';
import { HeaderEncoder } from './hpack-encode.ts';
import { FLAG, FRAME, FrameReader, frame, headersFrames, numberFrame, withoutPadding } from './http2-frame.ts';
import type { RequestFields } from './http2-request.ts';
import { HeaderBlock, readHead, readTrailers } from './http2-response.ts';
import {
  CONNECTION_WINDOW,
  DEFAULT_WINDOW,
  MAX_HEADER_LIST,
  opening,
  readSettings,
  SETTING,
} from './http2-settings.ts';
import { SilenceWatch } from './http2-silence.ts';
import { Http2Stream, MAX_WINDOW, type StreamOwner } from './http2-stream.ts';
import { TurnWriter } from './pass-on.ts';

const REFUSED_STREAM = 0x7;
const MAX_STREAMS = 100;
const LAST_STREAM = 0x3fffffff;
/** Frames that bring nothing, or only ask for an answer, in one read. */
const MAX_IDLE_FRAMES = 64;

export class Http2Client {
  /** Bytes that all streams together may send now. */
  sendWindow = DEFAULT_WINDOW;
  readonly #socket: Socket;
  readonly #out: TurnWriter;
  readonly #onRest: () => void;
  readonly #silence: SilenceWatch;
  readonly #encoder = new HeaderEncoder();
  readonly #decoder = new HeaderDecoder();
  readonly #reader: FrameReader;
  readonly #streams = new Map<number, Http2Stream>();
  readonly #unsettled: Http2Stream[] = [];
  #lastStream = -1;
  #maxStreams = MAX_STREAMS;
  #initialWindow = DEFAULT_WINDOW;
  #receiveWindow = CONNECTION_WINDOW;
  #block: HeaderBlock | undefined;
  #idleFrames = 0;
  #draining = false;
  #closed = false;

  /**
   * @param socket connected, nothing sent or read yet
   * @param onRest called when the last stream has ended
   * @param lookEvery milliseconds between looks whether the server is still there, while streams are open
   */
  constructor(socket: Socket, onRest: () => void, lookEvery = 5000) {
    this.#socket = socket;
    this.#out = new TurnWriter(socket);
    this.#onRest = onRest;
    this.#reader = new FrameReader({
      frame: (type, flags, stream, payload) => this.#frame(type, flags, stream, payload),
      data: (stream, bytes, counted, end) => this.#data(stream, bytes, counted, end),
    });
    for (const part of opening()) this.send(part);
    socket.on('data', (chunk: Buffer) => this.#read(chunk));
    socket.on('drain', () => this.#flushStreams());
    socket.on('end', () => this.destroy());
    socket.on('close', () => this.destroy());
    socket.on('error', () => this.destroy());
    this.#silence = new SilenceWatch(this, lookEvery);
  }

  /** Streams that are open. */
  get size(): number {
    return this.#streams.size;
  }

  /** Another stream may be opened. */
  get ready(): boolean {
    return !this.over && this.#streams.size < this.#maxStreams;
  }

  /** No stream will be opened any more: the server drains, or the connection is gone. */
  get over(): boolean {
    return this.#draining || this.#closed;
  }

  /**
   * Opens a stream; the connection must be `ready`.
   * @param whole the request has no body
   */
  request(fields: RequestFields, whole: boolean, owner: StreamOwner): Http2Stream {
    this.#lastStream += 2;
    if (this.#lastStream >= LAST_STREAM) this.#draining = true;
    const stream = new Http2Stream(this.#lastStream, owner, this, this.#initialWindow, whole);
    this.#streams.set(stream.id, stream);
    const block = this.#encoder.encode(fields.varying, fields.key, fields.steady);
    for (const part of headersFrames(stream.id, block, whole)) this.send(part);
    return stream;
  }

  /** Opens no more streams; closes when those that are open have ended. */
  drain(): void {
    this.#draining = true;
    if (this.#streams.size === 0) this.destroy();
  }

  /** Ends everything at once. */
  destroy(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#silence.stop();
    this.#out.close();
    this.#socket.destroy();
    for (const stream of [...this.#streams.values()]) stream.fail(false);
  }

  /** For streams: what is sent in one turn of the event loop leaves together. */
  send(bytes: Buffer): void {
    this.#out.write(bytes);
  }

  /** For streams. */
  get blocked(): boolean {
    return this.#socket.writableNeedDrain;
  }

  /** For streams. */
  spend(bytes: number): void {
    this.sendWindow -= bytes;
  }

  /** For streams. */
  left(stream: Http2Stream): void {
    this.#streams.delete(stream.id);
    if (this.#streams.size === 0 && !this.#closed) this.#onRest();
  }

  /** For the watch over silence. */
  ping(): void {
    this.send(frame(FRAME.ping, 0, 0, Buffer.alloc(8)));
  }

  #read(chunk: Buffer): void {
    this.#idleFrames = 0;
    this.#silence.heard();
    try {
      this.#reader.push(chunk);
    } catch {
      this.destroy(); // a connection error (section 5.4.1): nothing after it can be trusted
      return;
    }
    for (const stream of this.#unsettled) stream.owner.settled();
    this.#unsettled.length = 0;
    if (this.#draining && this.#streams.size === 0) this.destroy();
  }

  #frame(type: number, flags: number, id: number, payload: Buffer): void {
    if (this.#block && (type !== FRAME.continuation || id !== this.#block.stream)) {
      throw new Error('a header block that is interrupted');
    }
    switch (type) {
      case FRAME.headers:
        this.#headers(flags, id, payload);
        break;
      case FRAME.continuation:
        if (!this.#block) throw new Error('a CONTINUATION of nothing');
        this.#addToBlock(payload, flags);
        break;
      case FRAME.reset:
        this.#require(id, payload.length === 4);
        this.#streams.get(id)?.fail(payload.readUInt32BE() === REFUSED_STREAM);
        break;
      case FRAME.settings:
        if (id !== 0 || payload.length % 6 !== 0) throw new Error('SETTINGS that are malformed');
        if ((flags & FLAG.ack) === 0) this.#settings(payload);
        break;
      case FRAME.ping:
        if (id !== 0 || payload.length !== 8) throw new Error('a PING that is malformed');
        if ((flags & FLAG.ack) === 0) this.send(frame(FRAME.ping, FLAG.ack, 0, payload));
        this.#countIdle();
        break;
      case FRAME.goaway:
        if (id !== 0 || payload.length < 8) throw new Error('a GOAWAY that is malformed');
        this.#goAway(payload.readUInt32BE() & 0x7fffffff);
        break;
      case FRAME.windowUpdate:
        this.#windowUpdate(id, payload);
        break;
      case FRAME.push:
        throw new Error('a PUSH_PROMISE, which our settings forbid');
    }
  }

  #headers(flags: number, id: number, payload: Buffer): void {
    const content = withoutPadding(payload, flags);
    const from = flags & FLAG.priority ? 5 : 0;
    this.#require(id, content.length >= from);
    this.#block = new HeaderBlock(id, (flags & FLAG.endStream) !== 0, MAX_HEADER_LIST);
    this.#addToBlock(content.subarray(from), flags);
  }

  #addToBlock(part: Buffer, flags: number): void {
    const block = this.#block!;
    block.add(part);
    if ((flags & FLAG.endHeaders) === 0) return;
    this.#block = undefined;
    const fields = this.#decoder.decode(block.bytes, MAX_HEADER_LIST); // for a cancelled stream too: the table must follow
    const stream = this.#streams.get(block.stream);
    if (!stream) return;
    if (stream.answered) {
      if (!block.end) throw new Error('trailers that end nothing');
      const lines = readTrailers(fields);
      stream.finish();
      stream.owner.trailers(lines);
      return;
    }
    const head = readHead(fields);
    if (head.status >= 200) stream.answered = true;
    else if (block.end) throw new Error('an interim response that ends the stream');
    else this.#countIdle();
    if (block.end) stream.finish();
    else this.#unsettled.push(stream);
    stream.owner.head(head, block.end);
  }

  #data(id: number, bytes: Buffer, counted: number, end: boolean): void {
    if (this.#block) throw new Error('a header block that is interrupted');
    this.#require(id, true);
    this.#receiveWindow -= counted;
    if (this.#receiveWindow < 0) throw new Error('more than the window');
    if (this.#receiveWindow < CONNECTION_WINDOW / 2) {
      this.send(numberFrame(FRAME.windowUpdate, 0, CONNECTION_WINDOW - this.#receiveWindow));
      this.#receiveWindow = CONNECTION_WINDOW;
    }
    if (counted === 0 && !end) this.#countIdle();
    const stream = this.#streams.get(id);
    if (!stream) return;
    if (!stream.answered) throw new Error('DATA before a head');
    stream.received(counted);
    if (end) stream.finish();
    stream.owner.data(bytes, end);
    stream.taken();
  }

  #settings(payload: Buffer): void {
    this.#countIdle();
    for (const [id, value] of readSettings(payload)) {
      switch (id) {
        case SETTING.tableSize:
          this.#encoder.limitTable(value);
          break;
        case SETTING.maxStreams:
          this.#maxStreams = Math.min(value, MAX_STREAMS);
          break;
        case SETTING.initialWindow: {
          if (value > MAX_WINDOW) throw new Error('a window that is too large');
          const more = value - this.#initialWindow;
          this.#initialWindow = value;
          for (const stream of this.#streams.values()) stream.widen(more);
          break;
        }
      }
    }
    this.send(frame(FRAME.settings, FLAG.ack, 0, Buffer.alloc(0)));
  }

  #goAway(last: number): void {
    this.#draining = true;
    for (const stream of [...this.#streams.values()]) if (stream.id > last) stream.fail(true);
  }

  #windowUpdate(id: number, payload: Buffer): void {
    const more = payload.length === 4 ? payload.readUInt32BE() & MAX_WINDOW : 0;
    if (more === 0) throw new Error('a WINDOW_UPDATE that is malformed');
    if (id !== 0) {
      this.#require(id, true);
      this.#streams.get(id)?.widen(more);
      return;
    }
    this.sendWindow += more;
    if (this.sendWindow > MAX_WINDOW) throw new Error('a window that is too large');
    this.#flushStreams();
  }

  #flushStreams(): void {
    for (const stream of this.#streams.values()) stream.flush();
  }

  /** Streams are ours alone, odd, and in order: a frame on one that was never opened is a connection error. */
  #require(id: number, wellFormed: boolean): void {
    if (id === 0 || id % 2 === 0 || id > this.#lastStream || !wellFormed)
      throw new Error('a frame on no stream of ours');
  }

  /** A server that goes on asking for answers would fill our memory with them. */
  #countIdle(): void {
    this.#idleFrames += 1;
    if (this.#idleFrames > MAX_IDLE_FRAMES) throw new Error('too many frames that bring nothing');
  }
}
