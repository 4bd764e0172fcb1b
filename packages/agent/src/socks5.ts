/** SOCKS5 (RFC 1928) with user name and password (RFC 1929), CONNECT only: the server's side of the handshake. */
import type { Socket } from 'node:net';
import type { MeshpassError } from '@meshpass/identity/error';

export const SOCKS_VERSION = 5;
const USERNAME_PASSWORD = 2;
const NO_ACCEPTABLE_METHOD = 0xff;
const MAX_HANDSHAKE = 1024;

export interface SocksOptions {
  readonly authorize: (user: string, password: string) => boolean;
  /** Exactly one of `established` and `failed` is called, once. */
  readonly connect: (
    host: string,
    port: number,
    established: () => void,
    failed: (error: MeshpassError) => void,
  ) => void;
}

/** @param first bytes already read from the client, which is paused */
export function serveSocks(client: Socket, first: Buffer, options: SocksOptions): void {
  let buffer = first;
  let step: (bytes: Buffer) => number = greeting;

  const onData = (chunk: Buffer) => {
    buffer = Buffer.concat([buffer, chunk]);
    advance();
  };
  client.on('data', onData);
  client.resume();
  advance();

  function advance(): void {
    for (let used = step(buffer); used > 0; used = step(buffer)) buffer = buffer.subarray(used);
    if (buffer.length > MAX_HANDSHAKE) client.destroy();
  }

  /** Every step answers how many bytes it has used; 0 while it needs more. */
  function greeting(bytes: Buffer): number {
    if (bytes.length < 2 || bytes.length < 2 + bytes[1]!) return 0;
    const methods = bytes.subarray(2, 2 + bytes[1]!);
    if (!methods.includes(USERNAME_PASSWORD)) return stop(Buffer.of(SOCKS_VERSION, NO_ACCEPTABLE_METHOD));
    client.write(Buffer.of(SOCKS_VERSION, USERNAME_PASSWORD));
    step = credentials;
    return 2 + methods.length;
  }

  function credentials(bytes: Buffer): number {
    if (bytes.length < 2) return 0;
    const userEnd = 2 + bytes[1]!;
    if (bytes.length <= userEnd) return 0;
    const end = userEnd + 1 + bytes[userEnd]!;
    if (bytes.length < end) return 0;
    const user = bytes.toString('utf8', 2, userEnd);
    const password = bytes.toString('utf8', userEnd + 1, end);
    if (bytes[0] !== 1 || !options.authorize(user, password)) return stop(Buffer.of(1, 1));
    client.write(Buffer.of(1, 0));
    step = request;
    return end;
  }

  function request(bytes: Buffer): number {
    if (bytes.length < 5) return 0;
    const kind = bytes[3]!;
    const length = kind === 1 ? 4 : kind === 4 ? 16 : kind === 3 ? 1 + bytes[4]! : 0;
    if (bytes[0] !== SOCKS_VERSION || bytes[1] !== 1) return stop(reply(7)); // command not supported
    if (length === 0) return stop(reply(8)); // address type not supported
    const end = 4 + length + 2;
    if (bytes.length < end) return 0;
    if (bytes.length > end) return stop(reply(1)); // bytes before the answer
    const host = hostOf(kind, bytes.subarray(4, 4 + length));
    client.off('data', onData);
    client.pause();
    step = () => 0;
    options.connect(
      host,
      bytes.readUInt16BE(end - 2),
      () => client.write(reply(0)),
      (error) => stop(reply(error.code === 'agent_service_unknown' ? 2 : 4)), // not allowed by ruleset, host unreachable
    );
    return 0;
  }

  function stop(answer: Buffer): number {
    step = () => 0;
    client.off('data', onData);
    client.end(answer);
    client.resume();
    return 0;
  }
}

function hostOf(kind: number, bytes: Buffer): string {
  if (kind === 3) return bytes.toString('latin1', 1).toLowerCase();
  if (kind === 1) return bytes.join('.');
  return Array.from({ length: 8 }, (_, index) => bytes.readUInt16BE(index * 2).toString(16)).join(':');
}

function reply(code: number): Buffer {
  return Buffer.of(SOCKS_VERSION, code, 0, 1, 0, 0, 0, 0, 0, 0);
}
