/**
 * Reads the server name from a TLS ClientHello without taking part in the handshake (RFC 8446 sections 4.1.2 and 5.1,
 * RFC 6066 section 3). The reader is deliberately strict: it rejects any input that two parsers could interpret
 * differently, so that the gateway never sees a different name than the one that the edge has checked.
 */
export type ClientHelloResult =
  | { readonly state: 'more' }
  /** The server name (`sni`) is undefined if the client did not send one. */
  | { readonly state: 'done'; readonly sni: string | undefined }
  | { readonly state: 'error'; readonly reason: string };

export type ClientHelloReader = ReturnType<typeof createClientHelloReader>;

const RECORD_HEADER = 5;
const MAX_RECORD = 16_384;
const HANDSHAKE_HEADER = 4;
const MORE: ClientHelloResult = { state: 'more' };

/**
 * Creates a reader for the ClientHello of a single connection.
 * @param limit the maximum size of the ClientHello including its record headers, in bytes
 */
export function createClientHelloReader(limit: number) {
  let bytes: Buffer = Buffer.alloc(0);
  let needed = RECORD_HEADER;
  return {
    /** Returns all bytes that have been read so far, so that they can be forwarded to the gateway. */
    bytes: () => bytes,
    /** Processes the next bytes of the stream. It must not be called again after it has returned `done` or `error`. */
    push(chunk: Buffer) {
      bytes = bytes.length === 0 ? chunk : Buffer.concat([bytes, chunk]);
      // Waits for the missing bytes. Parsing again after every chunk would take quadratic time for one-byte writes.
      if (bytes.length < needed) return bytes[0] === 22 ? MORE : failed('the first record is not a handshake');
      const read = readHello(bytes, limit);
      if (typeof read !== 'number') return read;
      needed = read;
      return needed > limit ? failed(`the ClientHello is larger than ${limit} bytes`) : MORE;
    },
  };
}

/** Reads the server name. If bytes are missing, returns the number of stream bytes that are needed to continue. */
function readHello(bytes: Buffer, limit: number): ClientHelloResult | number {
  try {
    const handshake = gather(bytes, limit);
    return typeof handshake === 'number' ? handshake : { state: 'done', sni: serverName(handshake) };
  } catch (error) {
    if (error instanceof Malformed) return failed(error.message);
    throw error;
  }
}

/** Returns the body of the ClientHello from its records, or the number of stream bytes that are needed to continue. */
function gather(bytes: Buffer, limit: number): Buffer | number {
  const parts: Buffer[] = [];
  let gathered = 0;
  let wanted = HANDSHAKE_HEADER;
  let at = 0;
  while (gathered < wanted) {
    if (bytes.length < at + RECORD_HEADER) return at + RECORD_HEADER;
    const end = at + RECORD_HEADER + recordLength(bytes, at);
    const part = bytes.subarray(at + RECORD_HEADER, end);
    parts.push(part);
    gathered += part.length;
    if (wanted === HANDSHAKE_HEADER && gathered >= HANDSHAKE_HEADER)
      wanted += helloLength(parts.length === 1 ? part : Buffer.concat(parts), limit);
    if (bytes.length < end) return end;
    at = end;
  }
  if (gathered > wanted) throw new Malformed('bytes follow the ClientHello inside its record');
  return (parts.length === 1 ? parts[0]! : Buffer.concat(parts)).subarray(HANDSHAKE_HEADER);
}

/** Returns the content length of the handshake record that starts at the given offset. */
function recordLength(bytes: Buffer, at: number): number {
  if (bytes[at] !== 22) throw new Malformed('a record before the end of the ClientHello is not a handshake');
  if (bytes[at + 1] !== 3 || bytes[at + 2]! > 4) throw new Malformed('the record version is not a TLS version');
  const length = bytes.readUInt16BE(at + 3);
  if (length === 0 || length > MAX_RECORD) throw new Malformed('the record length is out of bounds');
  return length;
}

function helloLength(head: Buffer, limit: number): number {
  if (head[0] !== 1) throw new Malformed('the first handshake message is not a ClientHello');
  const length = head.readUIntBE(1, 3);
  if (HANDSHAKE_HEADER + length > limit) throw new Malformed(`the ClientHello is larger than ${limit} bytes`);
  return length;
}

function serverName(body: Buffer): string | undefined {
  const hello = new Cursor(body);
  hello.take(2 + 32); // legacy_version and random
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
    if (seen.has(type)) throw new Malformed('an extension occurs twice');
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
  if (!list.atEnd()) throw new Malformed('more than one server name is present');
  if (name.length === 0 || name.length > 255) throw new Malformed('the length of the server name is out of bounds');
  for (const byte of name) {
    if (byte <= 0x20 || byte >= 0x7f)
      throw new Malformed('the server name contains a byte that is not valid in a host name');
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
    if (this.#at + length > this.#bytes.length) throw new Malformed('a length exceeds the remaining bytes');
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

function failed(reason: string): ClientHelloResult {
  return { state: 'error', reason };
}

/**
 * Explains how the inner server name differs from the one that CONNECT requires. Returns undefined if they match.
 * @param sni the server name from the ClientHello, if it contains one
 * @param expected the server name that the CONNECT request requires
 */
export function sniMismatch(sni: string | undefined, expected: string): string | undefined {
  if (sni === expected) return undefined;
  const named = sni === undefined ? 'has no server name' : 'names a different server than CONNECT did';
  return `The inner ClientHello ${named}. Expected ${expected}.`;
}
