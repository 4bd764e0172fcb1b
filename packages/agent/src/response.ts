/**
 * Follows the responses on a connection (RFC 9112 section 6.3) without changing them: whose turn it is, whether the
 * connection rests between two exchanges, and what stands first in the next response.
 */
import { ChunkedBody } from './chunked.ts';

const MAX_HEAD = 65_536;
const CONTENT_LENGTH = /\r\ncontent-length:[\t ]*([0-9]{1,15})[\t ]*\r\n/i;
const CHUNKED = /\r\ntransfer-encoding:[^\r]*chunked[\t ]*\r\n/i;
const CLOSE = /\r\nconnection:[^\r]*close/i;
const NOTHING = Buffer.alloc(0);

export interface ExpectedResponse {
  readonly method: string;
  readonly path: string;
  readonly accept: string | undefined;
  readonly upgrade: boolean;
}

export class ResponseTracker {
  /** Requests whose response has not ended, oldest first. */
  readonly pending: ExpectedResponse[] = [];
  /** 101 was answered: what follows is another protocol. */
  switched = false;
  /** The connection cannot carry another request: it ends by closing, or its bytes were not HTTP. */
  closing = false;
  #partial: Buffer = NOTHING;
  #left = 0;
  #chunked: ChunkedBody | undefined;

  expect(request: ExpectedResponse): void {
    this.pending.push(request);
  }

  /** Between two exchanges. */
  get idle(): boolean {
    return this.pending.length === 0 && !this.switched;
  }

  /** The next byte begins the head of a response to exactly one request. */
  get atHead(): boolean {
    return this.pending.length === 1 && this.#partial.length === 0 && this.#inHead;
  }

  get #inHead(): boolean {
    return this.#left === 0 && this.#chunked === undefined && !this.switched && !this.closing;
  }

  observe(chunk: Buffer): void {
    let at = 0;
    while (at < chunk.length) {
      if (this.switched || (this.closing && this.#left === 0 && this.#chunked === undefined)) return;
      if (this.#left > 0) {
        const taken = Math.min(this.#left, chunk.length - at);
        this.#left -= taken;
        at += taken;
        if (this.#left === 0) this.#finish();
      } else if (this.#chunked) {
        at = this.#chunked.advance(chunk, at);
        if (this.#chunked.broken) this.#giveUp();
        else if (this.#chunked.done) this.#finish();
      } else {
        at = this.#readHead(chunk, at);
      }
    }
  }

  #readHead(chunk: Buffer, at: number): number {
    if (this.pending.length === 0) {
      this.#giveUp(); // bytes that no request asked for
      return chunk.length;
    }
    const held = this.#partial.length;
    const bytes = held === 0 ? chunk : Buffer.concat([this.#partial, chunk.subarray(at)]);
    const from = held === 0 ? at : 0;
    const end = bytes.indexOf('\r\n\r\n', from, 'latin1');
    if (end < 0) {
      this.#partial = Buffer.from(bytes.subarray(from));
      if (this.#partial.length > MAX_HEAD) this.#giveUp();
      return chunk.length;
    }
    this.#partial = NOTHING;
    this.#startBody(bytes.toString('latin1', from, end + 2));
    return held === 0 ? end + 4 : at + (end + 4 - held);
  }

  #startBody(head: string): void {
    const status = Number(head.slice(9, 12));
    const request = this.pending[0]!;
    if (!head.startsWith('HTTP/1.') || !(status >= 100 && status < 1000)) {
      this.#giveUp();
      return;
    }
    if (status === 101) {
      this.switched = true;
      return;
    }
    if (status < 200) return;
    if (head[7] === '0' || CLOSE.test(head)) this.closing = true;
    if (request.method === 'HEAD' || status === 204 || status === 304) {
      this.#finish();
      return;
    }
    if (CHUNKED.test(head)) {
      this.#chunked = new ChunkedBody();
      return;
    }
    const length = CONTENT_LENGTH.exec(head);
    if (!length) {
      this.closing = true; // until the connection closes
      return;
    }
    this.#left = Number(length[1]);
    if (this.#left === 0) this.#finish();
  }

  #finish(): void {
    this.#chunked = undefined;
    this.pending.shift();
  }

  #giveUp(): void {
    this.closing = true;
    this.#chunked = undefined;
    this.#left = 0;
    this.#partial = NOTHING;
  }
}
