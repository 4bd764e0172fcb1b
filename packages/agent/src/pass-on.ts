/** Writing towards a local client, with the fewest system calls. */
import type { Socket } from 'node:net';

/** Below this a write goes out at once: latency counts. Above it more is likely to follow in the same turn. */
const BULK = 8192;

/**
 * Writes; long chunks of one turn of the event loop leave together (a 64 KiB read holds four TLS records).
 * @returns false when the client should be waited for, as `write` does
 */
export function writeTogether(socket: Socket, bytes: Buffer): boolean {
  if (bytes.length >= BULK && socket.writableCorked === 0) {
    socket.cork();
    setImmediate(uncork, socket);
  }
  return socket.write(bytes);
}

function uncork(socket: Socket): void {
  socket.uncork();
}
