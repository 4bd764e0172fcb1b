/** Notices a way that was cut without a word: it would otherwise take every new request, too, until TCP gives up. */

/** Looks in a row that find nothing read; the second one sends a PING, and after the last one the server counts as gone. */
const MAX_SILENCE = 3;

interface Watched {
  /** Streams that are open. */
  readonly size: number;
  ping(): void;
  destroy(): void;
}

export class SilenceWatch {
  readonly #look: NodeJS.Timeout;
  #silence = 0;

  /** @param every milliseconds between looks */
  constructor(connection: Watched, every: number) {
    this.#look = setInterval(() => {
      if (connection.size === 0) return;
      this.#silence += 1;
      if (this.#silence === 2) connection.ping();
      if (this.#silence > MAX_SILENCE) connection.destroy();
    }, every).unref();
  }

  /** Something was read. */
  heard(): void {
    this.#silence = 0;
  }

  stop(): void {
    clearInterval(this.#look);
  }
}
