/**
 * HTTP/2 as frames (RFC 9113) from a client with prior knowledge (h2c, gRPC): appends one header field to every
 * request's header block and passes every other byte. The field is a literal that no table ever indexes (RFC 7541
 * section 6.2.3), so the compression state of both sides stays as it was, and nothing needs to be decoded.
 */
import { MeshpassError } from '@meshpass/identity/error';
import { FLAG, FRAME, FRAME_BYTES } from './http2-frame.ts';

export const HTTP2_PREFACE = Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n', 'latin1');

/** Largest frame that is passed: far more than clients send to servers that did not raise their limit. */
const MAX_FRAME = 1_048_576;
/** Header blocks are held until they end. */
const MAX_BLOCK = 131_072;

export class Http2Requests {
  readonly #field: () => Buffer;
  #buffer: Buffer = Buffer.alloc(0);
  #preface = false;
  #lastStream = 0;
  #block:
    | { stream: number; flags: number; prefix: Buffer; fragments: Buffer[]; size: number; opens: boolean }
    | undefined;
  #dataLeft = 0;

  /** @param field the literal to append, asked for at every request because the token changes */
  constructor(field: () => Buffer) {
    this.#field = field;
  }

  /**
   * Takes what the client sent; gives what goes on.
   * @throws MeshpassError request_malformed where the bytes are not HTTP/2
   */
  transform(chunk: Buffer): Buffer {
    const out: Buffer[] = [];
    let buffer = this.#buffer.length === 0 ? chunk : Buffer.concat([this.#buffer, chunk]);
    let at = 0;
    if (!this.#preface) {
      const seen = buffer.subarray(0, HTTP2_PREFACE.length);
      if (!HTTP2_PREFACE.subarray(0, seen.length).equals(seen)) throw malformed('the preface is wrong');
      if (seen.length < HTTP2_PREFACE.length) {
        this.#buffer = buffer;
        return Buffer.alloc(0);
      }
      this.#preface = true;
      at = seen.length;
      out.push(seen);
    }
    while (at < buffer.length) {
      if (this.#dataLeft > 0) {
        const taken = Math.min(this.#dataLeft, buffer.length - at);
        out.push(buffer.subarray(at, at + taken));
        this.#dataLeft -= taken;
        at += taken;
        continue;
      }
      if (buffer.length - at < 9) break;
      const length = buffer.readUIntBE(at, 3);
      const type = buffer[at + 3]!;
      if (length > MAX_FRAME) throw malformed('a frame is too long');
      if (type === FRAME.data && !this.#block) {
        // The one kind of frame that is long and frequent: its bytes pass as they arrive.
        out.push(buffer.subarray(at, at + 9));
        this.#dataLeft = length;
        at += 9;
        continue;
      }
      if (buffer.length - at < 9 + length) break;
      this.#frame(type, buffer.subarray(at, at + 9 + length), out);
      at += 9 + length;
    }
    buffer = buffer.subarray(at);
    this.#buffer = buffer.length === 0 ? buffer : Buffer.from(buffer);
    return out.length === 1 ? out[0]! : Buffer.concat(out);
  }

  #frame(type: number, frame: Buffer, out: Buffer[]): void {
    const flags = frame[4]!;
    const stream = frame.readUInt32BE(5) & 0x7fffffff;
    if (this.#block) {
      if (type !== FRAME.continuation || stream !== this.#block.stream)
        throw malformed('a header block is interrupted');
      this.#addFragment(frame.subarray(9), flags, out);
    } else if (type === FRAME.headers) {
      if (stream === 0 || stream % 2 === 0) throw malformed('a request has an even stream id');
      // A HEADERS frame on a stream that is already open carries trailers (RFC 9113 section 8.1).
      const opens = stream > this.#lastStream;
      if (opens) this.#lastStream = stream;
      const { prefix, fragment } = split(frame, flags);
      this.#block = { stream, flags, prefix, fragments: [], size: 0, opens };
      this.#addFragment(fragment, flags, out);
    } else if (type === FRAME.continuation) {
      throw malformed('a CONTINUATION follows no HEADERS');
    } else {
      out.push(frame);
    }
  }

  #addFragment(fragment: Buffer, flags: number, out: Buffer[]): void {
    const block = this.#block!;
    block.fragments.push(fragment);
    block.size += fragment.length + 9;
    if (block.size > MAX_BLOCK)
      throw new MeshpassError('request_too_large', 'The headers of the request are too long.');
    if ((flags & FLAG.endHeaders) === 0) return;
    this.#block = undefined;
    if (block.opens) block.fragments.push(this.#field());
    writeBlock(block.stream, block.flags, block.prefix, Buffer.concat(block.fragments), out);
  }
}

/** A literal header field, never indexed, without Huffman coding (RFC 7541 section 6.2.3). */
export function neverIndexedField(name: string, value: string): Buffer {
  const text = (bytes: Buffer) => Buffer.concat([integer7(bytes.length), bytes]);
  return Buffer.concat([Buffer.of(0x10), text(Buffer.from(name, 'latin1')), text(Buffer.from(value, 'latin1'))]);
}

/** An integer with a 7-bit prefix whose high bit is 0 (RFC 7541 section 5.1). */
function integer7(value: number): Buffer {
  if (value < 127) return Buffer.of(value);
  const bytes = [127];
  let rest = value - 127;
  for (; rest >= 128; rest >>>= 7) bytes.push((rest & 127) | 128);
  bytes.push(rest);
  return Buffer.from(bytes);
}

/** Padding is left out: it hides lengths, and the length changes here anyway. */
function split(frame: Buffer, flags: number): { prefix: Buffer; fragment: Buffer } {
  let at = 9;
  let end = frame.length;
  if (flags & FLAG.padded) {
    if (at >= end) throw malformed('a frame is too short');
    end -= frame[at]!;
    at += 1;
  }
  const prefixEnd = flags & FLAG.priority ? at + 5 : at;
  if (prefixEnd > end) throw malformed('a frame is too short');
  return { prefix: frame.subarray(at, prefixEnd), fragment: frame.subarray(prefixEnd, end) };
}

function writeBlock(stream: number, flags: number, prefix: Buffer, block: Buffer, out: Buffer[]): void {
  let at = 0;
  for (let first = true; first || at < block.length; first = false) {
    const room = FRAME_BYTES - (first ? prefix.length : 0);
    const part = block.subarray(at, at + room);
    at += part.length;
    const payload = first ? prefix.length + part.length : part.length;
    const head = Buffer.alloc(9);
    head.writeUIntBE(payload, 0, 3);
    head[3] = first ? FRAME.headers : FRAME.continuation;
    head[4] = (first ? flags & ~(FLAG.padded | FLAG.endHeaders) : 0) | (at >= block.length ? FLAG.endHeaders : 0);
    head.writeUInt32BE(stream, 5);
    out.push(head);
    if (first && prefix.length > 0) out.push(prefix);
    out.push(part);
  }
}

function malformed(why: string): MeshpassError {
  return new MeshpassError('request_malformed', `The agent does not pass this HTTP/2 connection on: ${why}.`);
}
