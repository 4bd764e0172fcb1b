/** Frames of HTTP/2 (RFC 9113 section 4.1): read from the bytes of a server, and written. */

export const FRAME = {
  ...{ data: 0x0, headers: 0x1, priority: 0x2, reset: 0x3, settings: 0x4, push: 0x5, ping: 0x6, goaway: 0x7 },
  ...{ windowUpdate: 0x8, continuation: 0x9 },
} as const;
export const FLAG = { endStream: 0x1, ack: 0x1, endHeaders: 0x4, padded: 0x8, priority: 0x20 } as const;
/** The size that every peer takes (section 4.2), and the largest that we take. */
export const FRAME_BYTES = 16_384;
const HEAD_BYTES = 9;
const NOTHING = Buffer.alloc(0);

export interface FrameTaker {
  /** Any frame but DATA, without its head. */
  frame(type: number, flags: number, stream: number, payload: Buffer): void;
  /**
   * A part of a DATA frame, as it came.
   * @param counted bytes that flow control counts: the part and its padding
   * @param end the stream ends with it
   */
  data(stream: number, bytes: Buffer, counted: number, end: boolean): void;
}

export class FrameReader {
  readonly #taker: FrameTaker;
  #rest: Buffer = NOTHING;
  #dataLeft = 0;
  #dataStream = 0;
  #dataEnds = false;

  constructor(taker: FrameTaker) {
    this.#taker = taker;
  }

  /** @throws Error where a frame is larger than we take, or padded beyond its end */
  push(chunk: Buffer): void {
    const bytes = this.#rest.length === 0 ? chunk : Buffer.concat([this.#rest, chunk]);
    let at = 0;
    while (at < bytes.length) {
      if (this.#dataLeft > 0) {
        const part = bytes.subarray(at, at + this.#dataLeft);
        at += part.length;
        this.#dataLeft -= part.length;
        this.#taker.data(this.#dataStream, part, part.length, this.#dataEnds && this.#dataLeft === 0);
        continue;
      }
      if (bytes.length - at < HEAD_BYTES) break;
      const length = bytes.readUIntBE(at, 3);
      if (length > FRAME_BYTES) throw new Error('a frame that is too long');
      const type = bytes[at + 3]!;
      const flags = bytes[at + 4]!;
      const stream = bytes.readUInt32BE(at + 5) & 0x7fffffff;
      if (type === FRAME.data && (flags & FLAG.padded) === 0 && length > 0) {
        // Its bytes pass as they arrive.
        this.#dataLeft = length;
        this.#dataStream = stream;
        this.#dataEnds = (flags & FLAG.endStream) !== 0;
        at += HEAD_BYTES;
        continue;
      }
      if (bytes.length - at < HEAD_BYTES + length) break;
      const payload = bytes.subarray(at + HEAD_BYTES, at + HEAD_BYTES + length);
      at += HEAD_BYTES + length;
      if (type === FRAME.data) {
        this.#taker.data(stream, withoutPadding(payload, flags), length, (flags & FLAG.endStream) !== 0);
      } else {
        this.#taker.frame(type, flags, stream, payload);
      }
    }
    this.#rest = at === bytes.length ? NOTHING : Buffer.from(bytes.subarray(at));
  }
}

/** @throws Error where there is more padding than frame */
export function withoutPadding(payload: Buffer, flags: number): Buffer {
  if ((flags & FLAG.padded) === 0) return payload;
  const end = payload.length - (payload[0] ?? payload.length);
  if (end < 1) throw new Error('a frame that is all padding');
  return payload.subarray(1, end);
}

export function frame(type: number, flags: number, stream: number, payload: Buffer): Buffer {
  const bytes = Buffer.allocUnsafe(HEAD_BYTES + payload.length);
  bytes.writeUIntBE(payload.length, 0, 3);
  bytes[3] = type;
  bytes[4] = flags;
  bytes.writeUInt32BE(stream, 5);
  payload.copy(bytes, HEAD_BYTES);
  return bytes;
}

/** A payload of one 32-bit number: WINDOW_UPDATE, RST_STREAM. */
export function numberFrame(type: number, stream: number, value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return frame(type, 0, stream, bytes);
}

/** A header block in as many frames as it needs. */
export function headersFrames(stream: number, block: Buffer, end: boolean): Buffer[] {
  const flags = end ? FLAG.endStream : 0;
  if (block.length <= FRAME_BYTES) return [frame(FRAME.headers, flags | FLAG.endHeaders, stream, block)];
  const frames = [frame(FRAME.headers, flags, stream, block.subarray(0, FRAME_BYTES))];
  for (let at = FRAME_BYTES; at < block.length; at += FRAME_BYTES) {
    const last = at + FRAME_BYTES >= block.length;
    frames.push(frame(FRAME.continuation, last ? FLAG.endHeaders : 0, stream, block.subarray(at, at + FRAME_BYTES)));
  }
  return frames;
}
