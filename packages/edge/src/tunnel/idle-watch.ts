import type { Socket } from 'node:net';
import type { TLSSocket } from 'node:tls';
import type { EdgeLimits } from '../limits.ts';

/** Detects idle tunnels by comparing byte counts on each sweep, so that the byte path does no extra work. */
export class IdleWatch {
  halfClosed = false;
  readonly #client: TLSSocket;
  readonly #upstream: Socket;
  readonly #limits: Pick<EdgeLimits, 'idleMs' | 'halfClosedMs'>;
  #moved = 0;

  constructor(client: TLSSocket, upstream: Socket, limits: Pick<EdgeLimits, 'idleMs' | 'halfClosedMs'>) {
    this.#client = client;
    this.#upstream = upstream;
    this.#limits = limits;
  }

  /**
   * Returns the tunnel's new deadline if a byte moved or a side closed since the last call.
   * @param now Unix ms
   */
  deadline(now: number): number | undefined {
    const halfClosed = this.#upstream.readableEnded || this.#client.readableEnded;
    const moved = this.#upstream.bytesRead + this.#upstream.bytesWritten - this.#client.writableLength;
    if (moved === this.#moved && halfClosed === this.halfClosed) return undefined;
    this.#moved = moved;
    this.halfClosed = halfClosed;
    const { idleMs, halfClosedMs } = this.#limits;
    return now + (halfClosed ? Math.min(halfClosedMs, idleMs) : idleMs);
  }
}
