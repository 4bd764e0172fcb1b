/** Writing with the fewest system calls, and ending what was written. */
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

/** Writes of which all that belong to one turn of the event loop leave together, however short. */
export class TurnWriter {
  readonly #socket: Socket;
  #out: Buffer[] = [];
  #scheduled = false;
  #closed = false;

  constructor(socket: Socket) {
    this.#socket = socket;
  }

  write(bytes: Buffer): void {
    this.#out.push(bytes);
    if (this.#scheduled) return;
    this.#scheduled = true;
    setImmediate(() => {
      this.#scheduled = false;
      const out = this.#out;
      this.#out = [];
      if (!this.#closed) this.#socket.write(out.length === 1 ? out[0]! : Buffer.concat(out));
    });
  }

  /** Drops what has not left yet. */
  close(): void {
    this.#closed = true;
  }
}

/** Ends the connection; what the client still sends is read and dropped, or it would lose what was said last. */
export function closeAfterAnswer(client: Socket): void {
  client.end();
  client.resume();
  setTimeout(() => client.destroy(), 2000).unref();
}

function uncork(socket: Socket): void {
  socket.uncork();
}
