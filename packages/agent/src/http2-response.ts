/** What the header fields of an HTTP/2 response say (RFC 9113 section 8.3.2), as HTTP/1.1 says it. */
import type { DecodedField } from './hpack-decode.ts';

export interface ResponseHead {
  readonly status: number;
  /** Header lines of HTTP/1.1, each with its CRLF. */
  readonly lines: string;
  /** Bytes of the body, where content-length names them. */
  readonly length: number | undefined;
}

const STATUS = /^[1-9][0-9]{2}$/;
const LENGTH = /^[0-9]{1,15}$/;

/** @throws Error where they are not those of a response */
export function readHead(fields: readonly DecodedField[]): ResponseHead {
  const first = fields[0];
  // 101 belongs to HTTP/1.1 alone (section 8.6).
  if (first?.name !== ':status' || !STATUS.test(first.value) || first.value === '101') throw new Error('no status');
  let length: number | undefined;
  let lines = '';
  for (let index = 1; index < fields.length; index++) {
    const { name, value, line } = fields[index]!;
    if (line === '') throw new Error('a pseudo-field that must not be');
    if (name === 'content-length') {
      if (length !== undefined || !LENGTH.test(value)) throw new Error('a content-length that is none');
      length = Number(value);
    }
    lines += line;
  }
  return { status: Number(first.value), lines, length };
}

/** @throws Error where a pseudo-field is among them (section 8.1) */
export function readTrailers(fields: readonly DecodedField[]): string {
  let lines = '';
  for (const { line } of fields) {
    if (line === '') throw new Error('a pseudo-field among trailers');
    lines += line;
  }
  return lines;
}

/** A header block that arrives in several frames (RFC 9113 section 4.3). */
export class HeaderBlock {
  readonly stream: number;
  /** It ends the stream. */
  readonly end: boolean;
  readonly #limit: number;
  readonly #parts: Buffer[] = [];
  #size = 0;

  constructor(stream: number, end: boolean, limit: number) {
    this.stream = stream;
    this.end = end;
    this.#limit = limit;
  }

  /** @throws Error if it becomes longer than the limit */
  add(part: Buffer): void {
    this.#parts.push(part);
    this.#size += part.length + 64; // empty parts count too
    if (this.#size > this.#limit) throw new Error('a header block that is too long');
  }

  get bytes(): Buffer {
    return this.#parts.length === 1 ? this.#parts[0]! : Buffer.concat(this.#parts);
  }
}
