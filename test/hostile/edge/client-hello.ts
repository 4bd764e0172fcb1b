/** ClientHellos to spoil: that of a real TLS client, parsed and encoded again (RFC 8446 section 4.1.2). */
import { once } from 'node:events';
import { Duplex } from 'node:stream';
import { connect } from 'node:tls';

export type Extension = readonly [type: number, data: Buffer];

export const SERVER_NAME = 0;
const PADDING = 21;

/** The first bytes of a TLS 1.3 client that wants this server: one record. */
export async function clientHello(servername: string): Promise<Buffer> {
  const heard = new Duplex({
    read() {},
    write(chunk: Buffer, _encoding, done) {
      heard.emit('hello', chunk);
      done();
    },
  });
  const hello = once(heard, 'hello') as Promise<[Buffer]>;
  const client = connect({
    socket: heard,
    servername,
    minVersion: 'TLSv1.3',
    ALPNProtocols: ['istio-http/1.1', 'istio'],
  });
  client.on('error', () => {});
  const [bytes] = await hello;
  client.destroy();
  return bytes;
}

/** Replaces the extensions of a ClientHello. */
export function withExtensions(hello: Buffer, change: (extensions: Extension[]) => Extension[]): Buffer {
  const body = hello.subarray(9);
  let at = 2 + 32;
  at += 1 + body[at]!; // session id
  at += 2 + body.readUInt16BE(at); // cipher suites
  at += 1 + body[at]!; // compression methods
  const extensions: Extension[] = [];
  for (let next = at + 2; next < body.length; ) {
    const length = body.readUInt16BE(next + 2);
    extensions.push([body.readUInt16BE(next), body.subarray(next + 4, next + 4 + length)]);
    next += 4 + length;
  }
  const written = change(extensions).map(([type, data]) => Buffer.concat([uint(2, type), uint(2, data.length), data]));
  return record(handshake(Buffer.concat([body.subarray(0, at), vector(2, Buffer.concat(written))])));
}

/** @param names in one server_name extension, each with its type (RFC 6066 section 3) */
export function withNames(hello: Buffer, ...names: readonly (readonly [type: number, name: string])[]): Buffer {
  return withExtensions(hello, (extensions) =>
    extensions.map(([type, data]) => [type, type === SERVER_NAME ? serverNames(names) : data]),
  );
}

/** @param bytes of padding (RFC 7685); a record has at most 16,384, so that more takes several */
export function padded(hello: Buffer, bytes: number): Buffer {
  const one = withExtensions(hello, (extensions) => [
    ...extensions.filter(([type]) => type !== PADDING),
    [PADDING, Buffer.alloc(bytes)],
  ]);
  return records(one, 8_192);
}

/** The handshake message of a record, in records of this size. */
export function records(hello: Buffer, size: number): Buffer {
  const message = hello.subarray(5);
  const parts: Buffer[] = [];
  for (let at = 0; at < message.length; at += size) parts.push(record(message.subarray(at, at + size)));
  return Buffer.concat(parts);
}

export function record(fragment: Buffer, type = 22, version = 0x0301): Buffer {
  return Buffer.concat([uint(1, type), uint(2, version), uint(2, fragment.length), fragment]);
}

export function serverNames(names: readonly (readonly [type: number, name: string])[]): Buffer {
  const list = names.map(([type, name]) => Buffer.concat([uint(1, type), vector(2, Buffer.from(name, 'latin1'))]));
  return vector(2, Buffer.concat(list));
}

function handshake(body: Buffer): Buffer {
  return Buffer.concat([uint(1, 1), vector(3, body)]);
}

function vector(width: number, data: Buffer): Buffer {
  return Buffer.concat([uint(width, data.length), data]);
}

function uint(width: number, value: number): Buffer {
  const bytes = Buffer.alloc(width);
  bytes.writeUIntBE(value, 0, width);
  return bytes;
}
