/**
 * Forwards the bytes of an open tunnel. The path is as thin as Node allows: one write per read, back-pressure in both
 * directions, half-close preserved, and no timer or clock per chunk.
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
   * Starts forwarding. `head` is sent to the gateway first, followed by all bytes from the client. All bytes from the
   * gateway are sent to the client.
   */
  open(head: Buffer): void;
}

/** Maximum number of bytes per read from the gateway. */
const READ_BYTES = 65_536;

// Each chunk has left the buffer before the next read, so all tunnels share one buffer and an idle tunnel does not need
// any. A new buffer per read would trigger V8's garbage collector every few megabytes, which costs more than TLS does.
// Windows cannot share it, because a pending read owns its buffer there.
const SHARED = Buffer.allocUnsafeSlow(READ_BYTES);
const readBuffer = process.platform === 'win32' ? () => Buffer.allocUnsafeSlow(READ_BYTES) : () => SHARED;

/**
 * Dials the mesh gateway for one client. Until `open` is called, no bytes are read from the client or forwarded in
 * either direction. The caller handles the socket's `connect`, `error` and `close` events.
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
        // Node's TLS encrypts or copies the chunk within `write`, so the shared buffer is free again when `write`
        // returns. A write that is queued behind another one would retain the buffer, so its chunk is copied.
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
