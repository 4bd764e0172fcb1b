/**
 * Bytes that a client sends before the response to its CONNECT. Sending the inner ClientHello with CONNECT saves a
 * round trip. The bytes are read once the gateway is connected, as if they arrived then. At most the size of a
 * ClientHello is buffered.
 */
export class EarlyBytes {
  readonly #limit: number;
  #chunks: Buffer[] = [];
  #length = 0;

  /** @param limit maximum bytes */
  constructor(limit: number) {
    this.#limit = limit;
  }

  /**
   * Buffers a chunk.
   * @returns false if the limit is exceeded
   */
  hold(chunk: Buffer): boolean {
    this.#length += chunk.length;
    if (this.#length > this.#limit) return false;
    this.#chunks.push(chunk);
    return true;
  }

  get length(): number {
    return this.#length;
  }

  /** Returns all buffered bytes in order, and empties the buffer. */
  release(): Buffer {
    const held = Buffer.concat(this.#chunks);
    this.#chunks = [];
    this.#length = 0;
    return held;
  }
}
