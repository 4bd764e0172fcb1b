/** Follows the chunked transfer coding (RFC 9112 section 7.1) over bytes that pass by; nothing is decoded or copied. */

const MAX_LINE = 1024;
const MAX_TRAILERS = 16_384;
const SIZE_LINE = /^([0-9A-Fa-f]{1,12})(?:[\t ]*;[\t\x20-\x7e\x80-\xff]*)?$/;
const TRAILER_LINE = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+:[\t\x20-\x7e\x80-\xff]*$/;

export class ChunkedBody {
  /** The last chunk and the trailers have passed. */
  done = false;
  /** The bytes are not the chunked coding; nothing after this point can be framed. */
  broken = false;
  #dataLeft = 0;
  #line = '';
  #phase: 'size' | 'data' | 'data-end' | 'trailers' = 'size';
  #trailerBytes = 0;
  readonly #refusedTrailer: string;

  /** @param refusedTrailer a field name in lower case that must not come as a trailer ('' for none) */
  constructor(refusedTrailer = '') {
    this.#refusedTrailer = refusedTrailer;
  }

  /** Reads `bytes` from `at`; returns the index after the last byte that belongs to this body. */
  advance(bytes: Buffer, at: number): number {
    let position = at;
    while (position < bytes.length && !this.done && !this.broken) {
      if (this.#phase === 'data') {
        const taken = Math.min(this.#dataLeft, bytes.length - position);
        this.#dataLeft -= taken;
        position += taken;
        if (this.#dataLeft === 0) this.#phase = 'data-end';
        continue;
      }
      const newline = bytes.indexOf(0x0a, position);
      const end = newline < 0 ? bytes.length : newline + 1;
      this.#line += bytes.toString('latin1', position, end);
      position = end;
      if (this.#line.length > MAX_LINE) this.broken = true;
      else if (newline >= 0) this.#endOfLine();
    }
    return position;
  }

  #endOfLine(): void {
    const line = this.#line;
    this.#line = '';
    if (!line.endsWith('\r\n')) {
      this.broken = true;
      return;
    }
    const text = line.slice(0, -2);
    if (this.#phase === 'data-end') {
      if (text === '') this.#phase = 'size';
      else this.broken = true;
    } else if (this.#phase === 'size') {
      const match = SIZE_LINE.exec(text);
      if (!match) {
        this.broken = true;
        return;
      }
      this.#dataLeft = Number.parseInt(match[1]!, 16);
      this.#phase = this.#dataLeft === 0 ? 'trailers' : 'data';
    } else if (text === '') {
      this.done = true;
    } else {
      this.#trailerBytes += line.length;
      const name = text.slice(0, text.indexOf(':')).toLowerCase();
      if (!TRAILER_LINE.test(text) || this.#trailerBytes > MAX_TRAILERS || name === this.#refusedTrailer) {
        this.broken = true;
      }
    }
  }
}
