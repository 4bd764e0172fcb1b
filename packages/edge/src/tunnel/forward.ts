/**
 * The byte path of an open tunnel. It is as thin as Node permits: one write per read, back-pressure both ways, half-close
 * kept, no timer and no clock per chunk.
 */
import { connect, type Socket } from 'node:net';
import type { TLSSocket } from 'node:tls';

export interface Gateway {
  readonly host: string;
  readonly port: number;
}

export interface Upstream {
  readonly socket: Socket;
  /** From now on bytes pass: first `head`, then whatever the client sends, and all that the gateway answers. */
  open(head: Buffer): void;
}

/** Largest read from the gateway, bytes. */
const READ_BYTES = 65_536;

// What is read has left the buffer before the next read, so that all tunnels share one and an idle tunnel holds none. A new
// buffer for each read would set off V8's garbage collector every few megabytes, which costs more than the TLS.
// Not on Windows, where a pending read owns its buffer.
const SHARED = Buffer.allocUnsafeSlow(READ_BYTES);
const readBuffer = process.platform === 'win32' ? () => Buffer.allocUnsafeSlow(READ_BYTES) : () => SHARED;

/**
 * Dials the mesh gateway for one client. Nothing is read from the client, and nothing passed on, before `open`.
 * The caller listens for `connect`, `error` and `close` on the socket.
 */
export function dialGateway(gateway: Gateway, client: TLSSocket): Upstream {
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
        // Node's TLS encrypts, or copies, in `write` itself: the shared buffer is free again when it returns. Only a write
        // that waits behind another one would keep it.
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
