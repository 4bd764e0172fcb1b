/**
 * Reads the server name out of a TLS ClientHello without taking part in the handshake (RFC 8446 sections 4.1.2 and 5.1,
 * RFC 6066 section 3). Strict on purpose: what two parsers may read differently is refused here, so that the gateway
 * behind can never see another name than the edge has checked.
 */
export type HelloResult =
  | { readonly state: 'more' }
  /** `sni` is undefined where the client sent none. */
  | { readonly state: 'done'; readonly sni: string | undefined }
  | { readonly state: 'error'; readonly reason: string };

export interface HelloReader {
  /** Takes the next bytes of the stream. After `done` or `error` it must not be called again. */
  push(chunk: Buffer): HelloResult;
  /** Everything pushed so far, to be passed on. */
  bytes(): Buffer;
}

const RECORD_HEADER = 5;
const MAX_RECORD = 16_384;
const HANDSHAKE_HEADER = 4;
const MORE: HelloResult = { state: 'more' };

/** @param limit most bytes that a ClientHello with its record headers may have */
export function createHelloReader(limit: number): HelloReader {
  let bytes: Buffer = Buffer.alloc(0);
  let needed = RECORD_HEADER;
  return {
    bytes: () => bytes,
    push(chunk) {
      bytes = bytes.length === 0 ? chunk : Buffer.concat([bytes, chunk]);
      // Parsing again before the bytes that were missing have come would let one-byte writes cost quadratic time.
      if (bytes.length < needed) return bytes[0] === 22 ? MORE : failed('the first record is not a handshake');
      try {
        const handshake = gather(bytes, limit);
        if (typeof handshake === 'number') {
          needed = handshake;
          return needed > limit ? failed(`the ClientHello is larger than ${limit} bytes`) : MORE;
        }
        return { state: 'done', sni: serverName(handshake) };
      } catch (error) {
        if (error instanceof Malformed) return failed(error.message);
        throw error;
      }
    },
  };
}

/** The body of the ClientHello out of its records, or how many bytes of the stream are needed to get further. */
function gather(bytes: Buffer, limit: number): Buffer | number {
  const parts: Buffer[] = [];
  let gathered = 0;
  let wanted = HANDSHAKE_HEADER;
  let at = 0;
  while (gathered < wanted) {
    if (bytes.length < at + RECORD_HEADER) return at + RECORD_HEADER;
    if (bytes[at] !== 22) throw new Malformed('a record before the end of the ClientHello is not a handshake');
    if (bytes[at + 1] !== 3 || bytes[at + 2]! > 4) throw new Malformed('the record version is not of TLS');
    const length = bytes.readUInt16BE(at + 3);
    if (length === 0 || length > MAX_RECORD) throw new Malformed('the record length is out of bounds');
    const end = at + RECORD_HEADER + length;
    const part = bytes.subarray(at + RECORD_HEADER, end);
    parts.push(part);
    gathered += part.length;
    if (wanted === HANDSHAKE_HEADER && gathered >= HANDSHAKE_HEADER) {
      const head = parts.length === 1 ? part : Buffer.concat(parts);
      if (head[0] !== 1) throw new Malformed('the first handshake message is not a ClientHello');
      wanted += head.readUIntBE(1, 3);
      if (wanted > limit) throw new Malformed(`the ClientHello is larger than ${limit} bytes`);
    }
    if (bytes.length < end) return end;
    at = end;
  }
  if (gathered > wanted) throw new Malformed('bytes follow the ClientHello inside its record');
  return (parts.length === 1 ? parts[0]! : Buffer.concat(parts)).subarray(HANDSHAKE_HEADER);
}

function serverName(body: Buffer): string | undefined {
  const hello = new Cursor(body);
  hello.take(2 + 32); // legacy_version, random
  if (hello.vector(1).length > 32) throw new Malformed('the session id is too long');
  const suites = hello.vector(2);
  if (suites.length < 2 || suites.length % 2) throw new Malformed('the cipher suites are malformed');
  if (hello.vector(1).length < 1) throw new Malformed('the compression methods are missing');
  if (hello.atEnd()) return undefined; // TLS 1.2 without extensions
  const extensions = new Cursor(hello.vector(2));
  if (!hello.atEnd()) throw new Malformed('bytes follow the extensions');
  const seen = new Set<number>();
  let name: string | undefined;
  while (!extensions.atEnd()) {
    const type = extensions.number(2);
    const data = extensions.vector(2);
    if (seen.has(type)) throw new Malformed('an extension is there twice');
    seen.add(type);
    if (type === 0) name = hostName(data);
  }
  return name;
}

function hostName(data: Buffer): string {
  const extension = new Cursor(data);
  const list = new Cursor(extension.vector(2));
  if (!extension.atEnd()) throw new Malformed('bytes follow the server name list');
  if (list.number(1) !== 0) throw new Malformed('the server name is not a host name');
  const name = list.vector(2);
  if (!list.atEnd()) throw new Malformed('there is more than one server name');
  if (name.length === 0 || name.length > 255) throw new Malformed('the length of the server name is out of bounds');
  for (const byte of name) {
    if (byte <= 0x20 || byte >= 0x7f) throw new Malformed('the server name has a byte that no host name has');
  }
  return name.toString('latin1');
}

class Malformed extends Error {}

class Cursor {
  readonly #bytes: Buffer;
  #at = 0;

  constructor(bytes: Buffer) {
    this.#bytes = bytes;
  }

  atEnd(): boolean {
    return this.#at === this.#bytes.length;
  }

  take(length: number): Buffer {
    if (this.#at + length > this.#bytes.length) throw new Malformed('a length goes beyond the end');
    this.#at += length;
    return this.#bytes.subarray(this.#at - length, this.#at);
  }

  number(width: 1 | 2): number {
    return this.take(width).readUIntBE(0, width);
  }

  vector(width: 1 | 2): Buffer {
    return this.take(this.number(width));
  }
}

function failed(reason: string): HelloResult {
  return { state: 'error', reason };
}

/**
 * Why the inner connection may not go on: its server name is not that of CONNECT.
 * @param sni what the ClientHello names, if anything
 * @param expected by CONNECT
 */
export function sniMismatch(sni: string | undefined, expected: string): string | undefined {
  if (sni === expected) return undefined;
  const named = sni === undefined ? 'has no server name' : 'names another server than CONNECT did';
  return `The inner ClientHello ${named}; ${expected} is expected.`;
}
