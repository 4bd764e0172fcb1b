/**
 * What a client sends before the answer to its CONNECT: the inner ClientHello in one flight with it saves a round trip. It is
 * read when the gateway is there, as if it had come then; no more is held than a ClientHello may have.
 */
export class EarlyBytes {
  readonly #limit: number;
  #chunks: Buffer[] = [];
  #length = 0;

  /** @param limit bytes that are held at most */
  constructor(limit: number) {
    this.#limit = limit;
  }

  /** @returns false if that is too much */
  hold(chunk: Buffer): boolean {
    this.#length += chunk.length;
    if (this.#length > this.#limit) return false;
    this.#chunks.push(chunk);
    return true;
  }

  get length(): number {
    return this.#length;
  }

  /** Everything held, in the order it came; from now on nothing is. */
  release(): Buffer {
    const held = Buffer.concat(this.#chunks);
    this.#chunks = [];
    this.#length = 0;
    return held;
  }
}
