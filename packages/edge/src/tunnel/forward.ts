/**
 * Forwards the bytes of an open tunnel with as little overhead as Node.js allows: one write per read, back-pressure in
 * both directions, half-close preserved, and no timer or clock per chunk.
 */
import { connect, type Socket } from 'node:net';
import type { TLSSocket } from 'node:tls';

export interface GatewayAddress {
  readonly host: string;
  readonly port: number;
}

export interface Upstream {
  readonly socket: Socket;
  /**
   * Starts forwarding. The gateway receives `head` first, followed by all bytes from the client. The client receives
   * all bytes from the gateway.
   */
  open(head: Buffer): void;
}

/** The maximum number of bytes per read from the gateway. */
const READ_BYTES = 65_536;

// Every chunk has left the buffer before the next read starts, so all tunnels can share one buffer and idle tunnels
// need none. Allocating a buffer per read would trigger V8's garbage collector every few megabytes, which costs more
// than TLS does. On Windows the buffer cannot be shared, because a pending read owns it.
const SHARED = Buffer.allocUnsafeSlow(READ_BYTES);
const readBuffer = process.platform === 'win32' ? () => Buffer.allocUnsafeSlow(READ_BYTES) : () => SHARED;

/**
 * Dials the mesh gateway on behalf of a client. Until `open` is called, no bytes are read from the client or forwarded
 * in either direction. The caller handles the `connect`, `error` and `close` events of the socket.
 */
export function dialGateway(gateway: GatewayAddress, client: TLSSocket): Upstream {
  let carrying = false;
  const socket = connect({
    host: gateway.host,
    port: gateway.port,
    allowHalfOpen: true,
    noDelay: true,
    keepAlive: true,
    keepAliveInitialDelay: 30_000,
    onread: {
      buffer: readBuffer(),
      callback(length, buffer) {
        if (!carrying) {
          socket.destroy();
          return false;
        }
        const chunk = buffer.subarray(0, length);
        // Node.js encrypts or copies the chunk before `write` returns, so the shared buffer can be used again
        // afterwards. A write that is queued behind another one would keep a reference to the buffer, so its chunk is
        // copied first.
        return client.write(client.writableLength === 0 ? chunk : Buffer.from(chunk));
      },
    },
  });
  return {
    socket,
    open(head) {
      carrying = true;
      client.on('drain', () => socket.resume());
      socket.on('end', () => client.end());
      socket.on('drain', () => client.resume());
      client.on('end', () => socket.end());
      client.on('data', (chunk: Buffer) => {
        if (!socket.write(chunk)) client.pause();
      });
      socket.write(head);
    },
  };
}
