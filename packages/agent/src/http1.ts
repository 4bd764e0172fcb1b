/**
 * HTTP/1.1 requests as bytes (RFC 9112): finds where each head and body begins and ends, so that one header can be put
 * in and every other byte passes as it came. Whatever two parsers could read in two ways is refused: an agent that is
 * lenient would let a request smuggle another one past the header.
 */
import { MeshpassError } from '@meshpass/identity/error';
import { ChunkedBody } from './chunked.ts';

/** Longest head that is read, in bytes. Envoy takes 60 KiB. */
export const MAX_HEAD = 61_440;

export interface RequestHead {
  readonly method: string;
  /** As it came: origin form, or absolute form towards a proxy, or the authority of CONNECT. */
  readonly target: string;
  readonly minor: 0 | 1;
  /** Header lines that go on, each with its CRLF; the token header and those for proxies are left out. */
  readonly lines: string;
  readonly host: string | undefined;
  readonly forwardedHost: string | undefined;
  readonly accept: string | undefined;
  readonly proxyAuthorization: string | undefined;
  /** The client asks to speak something else after this request (RFC 9110 section 7.8). */
  readonly upgrade: boolean;
  readonly body: number | 'chunked';
}

export type Piece =
  | { readonly head: RequestHead; readonly bytes?: undefined }
  | { readonly head?: undefined; readonly bytes: Buffer };

const REQUEST_LINE = /^([!#$%&'*+\-.^_`|~0-9A-Za-z]+) ([\x21-\x7e\x80-\xff]+) HTTP\/1\.([01])$/;
const HEADER_LINES = /^(?:[!#$%&'*+\-.^_`|~0-9A-Za-z]+:[\t\x20-\x7e\x80-\xff]*\r\n)*$/;
const DIGITS = /^[0-9]{1,15}$/;
const NOTHING = Buffer.alloc(0);

export class RequestReader {
  readonly #tokenHeader: string;
  #buffer: Buffer = NOTHING;
  #at = 0;
  #phase: 'head' | 'length' | 'chunked' | 'held' | 'raw' = 'head';
  #left = 0;
  #chunked: ChunkedBody | undefined;
  #holdAfterBody = false;

  /** @param tokenHeader name of the header that only the agent may send, in lower case */
  constructor(tokenHeader: string) {
    this.#tokenHeader = tokenHeader;
  }

  push(chunk: Buffer): void {
    if (this.#at === this.#buffer.length) this.#buffer = chunk;
    else this.#buffer = Buffer.concat([this.#buffer.subarray(this.#at), chunk]);
    this.#at = 0;
  }

  /** Nothing of a request has been read and not yet given out. */
  get empty(): boolean {
    return this.#at === this.#buffer.length && this.#phase === 'head';
  }

  /** Bytes that wait here. */
  get size(): number {
    return this.#buffer.length - this.#at;
  }

  /** A request has begun and its body has not ended. */
  get inBody(): boolean {
    return this.#phase === 'length' || this.#phase === 'chunked';
  }

  /** The next head, or the next bytes of a body; undefined when more must be pushed, or while an upgrade is undecided. */
  read(): Piece | undefined {
    switch (this.#phase) {
      case 'head':
        return this.#readHead();
      case 'length': {
        const bytes = this.#take(Math.min(this.#left, this.#buffer.length - this.#at));
        if (!bytes) return undefined;
        this.#left -= bytes.length;
        if (this.#left === 0) this.#endOfBody();
        return { bytes };
      }
      case 'chunked': {
        const body = this.#chunked!;
        const end = body.advance(this.#buffer, this.#at);
        if (body.broken) throw malformed('its chunked body is not well formed');
        const bytes = this.#take(end - this.#at);
        if (body.done) this.#endOfBody();
        return bytes ? { bytes } : undefined;
      }
      case 'held':
        return undefined;
      case 'raw': {
        const bytes = this.#take(this.#buffer.length - this.#at);
        return bytes ? { bytes } : undefined;
      }
    }
  }

  /** Tells how the server answered a request with `upgrade`: 101 makes everything after it opaque. */
  decideUpgrade(switched: boolean): void {
    if (this.#phase === 'held') this.#phase = switched ? 'raw' : 'head';
    this.#holdAfterBody = false;
  }

  #take(length: number): Buffer | undefined {
    if (length === 0) return undefined;
    const bytes = this.#buffer.subarray(this.#at, this.#at + length);
    this.#at += length;
    return bytes;
  }

  #endOfBody(): void {
    this.#phase = this.#holdAfterBody ? 'held' : 'head';
  }

  #readHead(): Piece | undefined {
    const buffer = this.#buffer;
    // RFC 9112 section 2.2: an empty line before a request line is skipped.
    if (buffer[this.#at] === 0x0d && buffer[this.#at + 1] === 0x0a) this.#at += 2;
    const start = this.#at;
    if (start === buffer.length) return undefined;
    const end = buffer.indexOf('\r\n\r\n', start, 'latin1');
    if (end < 0 ? buffer.length - start > MAX_HEAD : end - start > MAX_HEAD) {
      throw new MeshpassError('request_too_large', `The head of the request is longer than ${MAX_HEAD} bytes.`);
    }
    if (end < 0) return undefined;
    this.#at = end + 4;
    const head = parseHead(buffer.toString('latin1', start, end + 2), this.#tokenHeader);
    this.#holdAfterBody = head.upgrade;
    if (head.body === 'chunked') {
      this.#chunked = new ChunkedBody(this.#tokenHeader);
      this.#phase = 'chunked';
    } else if (head.body > 0) {
      this.#left = head.body;
      this.#phase = 'length';
    } else {
      this.#endOfBody();
    }
    return { head };
  }
}

/**
 * Bytes of a request head with header lines put in after the request line.
 * @param target what the request line names; the head's own target for everything but proxied requests
 * @param inserted header lines, each with its CRLF
 */
export function writeHead(head: RequestHead, target: string, inserted: string): Buffer {
  return Buffer.from(`${head.method} ${target} HTTP/1.${head.minor}\r\n${inserted}${head.lines}\r\n`, 'latin1');
}

/** Parses a head (with the CRLF of its last line, without the empty one). */
export function parseHead(text: string, tokenHeader: string): RequestHead {
  const lineEnd = text.indexOf('\r\n');
  const line = REQUEST_LINE.exec(text.slice(0, lineEnd));
  if (!line) throw malformed('its first line is not METHOD TARGET HTTP/1.1');
  const headers = text.slice(lineEnd + 2);
  if (!HEADER_LINES.test(headers)) throw malformed('a header line is not NAME: VALUE on one line');

  let host: string | undefined;
  let forwardedHost: string | undefined;
  let accept: string | undefined;
  let length: string | undefined;
  let coding: string | undefined;
  let upgradeTo: string | undefined;
  let connection = '';
  let proxyAuthorization: string | undefined;
  let kept = '';
  let keptFrom = 0;
  for (let at = 0; at < headers.length; ) {
    const end = headers.indexOf('\r\n', at);
    const colon = headers.indexOf(':', at);
    const size = colon - at;
    let drop = false;
    // Most names are told apart by their length alone: no string is made for them.
    if (size === tokenHeader.length && headers.slice(at, colon).toLowerCase() === tokenHeader) {
      drop = true;
    } else if (size === 4 || size === 6 || size === 7 || size === 10 || size === 14 || size >= 16) {
      const name = headers.slice(at, colon).toLowerCase();
      const value = () => headers.slice(colon + 1, end).trim();
      switch (name) {
        case 'host':
          if (host !== undefined) throw malformed('it has two Host headers');
          host = value();
          break;
        case 'accept':
          accept = value();
          break;
        case 'upgrade':
          upgradeTo = value();
          break;
        case 'connection':
          connection += `,${value().toLowerCase()}`;
          break;
        case 'content-length':
          if (length !== undefined) throw malformed('it has two Content-Length headers');
          length = value();
          break;
        case 'transfer-encoding':
          if (coding !== undefined) throw malformed('it has two Transfer-Encoding headers');
          coding = value().toLowerCase();
          break;
        case 'x-forwarded-host':
          forwardedHost = value();
          break;
        case 'proxy-authorization':
          proxyAuthorization = value();
          drop = true;
          break;
        case 'proxy-connection':
          drop = true;
          break;
      }
    }
    if (drop) {
      kept += headers.slice(keptFrom, at);
      keptFrom = end + 2;
    }
    at = end + 2;
  }

  const minor = line[3] === '1' ? 1 : 0;
  if (minor === 1 && host === undefined) throw malformed('it has no Host header');
  if (length !== undefined && coding !== undefined) throw malformed('it has both Content-Length and Transfer-Encoding');
  if (coding !== undefined && (coding !== 'chunked' || minor === 0))
    throw malformed('its Transfer-Encoding is not chunked');
  if (length !== undefined && !DIGITS.test(length)) throw malformed('its Content-Length is not a number');
  return {
    method: line[1]!,
    target: line[2]!,
    minor,
    lines: keptFrom === 0 ? headers : kept + headers.slice(keptFrom),
    host,
    forwardedHost,
    accept,
    proxyAuthorization,
    upgrade: upgradeTo !== undefined && connection.split(',').some((option) => option.trim() === 'upgrade'),
    body: coding === undefined ? Number(length ?? 0) : 'chunked',
  };
}

function malformed(why: string): MeshpassError {
  return new MeshpassError('request_malformed', `The agent does not pass this request on: ${why}.`);
}
