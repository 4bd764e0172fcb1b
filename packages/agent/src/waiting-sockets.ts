/** Connections that wait for use: bounded in time, and gone the moment their other side ends them or says anything. */
import type { TLSSocket } from 'node:tls';

interface Waiting {
  readonly key: string;
  readonly socket: TLSSocket;
  readonly generation: number;
  readonly timer: NodeJS.Timeout;
  readonly drop: () => void;
}

export class WaitingSockets {
  readonly #byKey = new Map<string, Waiting[]>();

  count(key: string): number {
    return this.#byKey.get(key)?.length ?? 0;
  }

  /**
   * @param generation of the credential under which the connection was made
   * @param milliseconds after which it is closed
   * @param onExpired called when it has been closed for its age
   */
  add(key: string, socket: TLSSocket, generation: number, milliseconds: number, onExpired?: () => void): void {
    const drop = () => {
      this.#remove(waiting);
      socket.destroy();
    };
    const expire = () => {
      drop();
      onExpired?.();
    };
    const waiting: Waiting = { key, socket, generation, drop, timer: setTimeout(expire, milliseconds).unref() };
    socket.once('close', drop).once('end', drop).once('data', drop);
    const list = this.#byKey.get(key);
    if (list) list.push(waiting);
    else this.#byKey.set(key, [waiting]);
  }

  /** The one that came last, if it can still be used under this credential. */
  take(key: string, generation: number): TLSSocket | undefined {
    for (let waiting = this.#byKey.get(key)?.at(-1); waiting; waiting = this.#byKey.get(key)?.at(-1)) {
      const { socket } = waiting;
      const usable = waiting.generation === generation && !socket.destroyed && socket.writable;
      this.#remove(waiting);
      if (usable) return socket;
      socket.destroy();
    }
    return undefined;
  }

  dropAll(): void {
    for (const list of [...this.#byKey.values()]) for (const waiting of [...list]) waiting.drop();
  }

  #remove(waiting: Waiting): void {
    const { key, socket, timer, drop } = waiting;
    clearTimeout(timer);
    socket.off('close', drop).off('end', drop).off('data', drop);
    const list = this.#byKey.get(key);
    const index = list?.indexOf(waiting) ?? -1;
    if (index >= 0) list!.splice(index, 1);
    if (list?.length === 0) this.#byKey.delete(key);
  }
}
