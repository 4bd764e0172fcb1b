/**
 * HTTP/2 connections that carry the requests of several local HTTP/1.1 clients to one service. A request that finds another one
 * under way shares; one alone is answered sooner on an HTTP/1.1 connection of its own (docs/decisions/0005-shared-connections.md
 * has the measurement).
 */
import type { TLSSocket } from 'node:tls';
import type { ReachableService } from '@meshpass/identity/wire';
import { Http2Client } from './http2-client.ts';

export interface SharedConnectionsOptions {
  /** Opens an HTTP/2 connection to a service, authenticated both ways. */
  readonly open: (service: ReachableService) => Promise<TLSSocket>;
  /** Which credential is the one of this moment. @throws MeshpassError agent_credentials_expired */
  readonly generation: (service: ReachableService) => number;
  /** Names the service, the grant, and the workloads that are expected behind it. */
  readonly keyOf: (service: ReachableService) => string;
  /** Milliseconds that a connection without a request stays open. */
  readonly idleFor: number;
}

/** Milliseconds before another try where a connection could not be made, or does not speak HTTP/2. */
const RETRY = 5000;

/** Clients of one service that wait for an answer. */
export class UnderWay {
  #clients = 0;

  get any(): boolean {
    return this.#clients > 0;
  }

  /** @returns a function to call once, when the client has its answer */
  add(): () => void {
    this.#clients += 1;
    return () => {
      this.#clients -= 1;
    };
  }
}

interface Shared {
  readonly underWay: UnderWay;
  connection?: Http2Client;
  generation: number;
  opening?: Promise<Http2Client | undefined> | undefined;
  notBefore: number;
  idle?: NodeJS.Timeout;
}

export class SharedConnections {
  readonly #options: SharedConnectionsOptions;
  readonly #shared = new Map<string, Shared>();

  constructor(options: SharedConnectionsOptions) {
    this.#options = options;
  }

  /** Connections that take requests. */
  get size(): number {
    return [...this.#shared.values()].filter(({ connection }) => connection && !connection.over).length;
  }

  underWay(service: ReachableService): UnderWay {
    return this.#of(service).underWay;
  }

  /**
   * The connection for one more request, if it should take it. Where there is none, one is opened; the promise is never
   * rejected.
   * @throws MeshpassError agent_credentials_expired
   */
  take(service: ReachableService): Http2Client | Promise<Http2Client | undefined> | undefined {
    const shared = this.#of(service);
    if (!shared.underWay.any) return undefined;
    const generation = this.#options.generation(service);
    const { connection } = shared;
    if (connection && !connection.over && shared.generation === generation) {
      return connection.ready ? connection : undefined;
    }
    if (!shared.opening && performance.now() >= shared.notBefore) {
      shared.opening = this.#open(service, shared, generation);
    }
    return shared.opening;
  }

  /** Gives out none of the present connections any more; what is under way on them is carried to its end. */
  drainAll(): void {
    for (const [key, shared] of this.#shared) {
      shared.connection?.drain();
      if (!shared.underWay.any && !shared.opening) this.#shared.delete(key);
    }
  }

  #of(service: ReachableService): Shared {
    const key = this.#options.keyOf(service);
    let shared = this.#shared.get(key);
    if (!shared) {
      shared = { underWay: new UnderWay(), generation: -1, notBefore: 0 };
      this.#shared.set(key, shared);
    }
    return shared;
  }

  async #open(service: ReachableService, shared: Shared, generation: number): Promise<Http2Client | undefined> {
    shared.connection?.drain();
    try {
      const socket = await this.#options.open(service);
      if (socket.alpnProtocol !== 'h2' && socket.alpnProtocol !== 'istio-h2') {
        socket.destroy();
        throw new Error(`the workload chose ${socket.alpnProtocol}`);
      }
      shared.generation = generation;
      shared.connection = new Http2Client(socket, () => this.#rests(shared));
      this.#rests(shared);
      return shared.connection;
    } catch {
      // A request on a connection of its own meets the same, and tells it.
      shared.notBefore = performance.now() + RETRY;
      return undefined;
    } finally {
      shared.opening = undefined;
    }
  }

  #rests(shared: Shared): void {
    shared.idle ??= setTimeout(() => {
      if (shared.connection?.size === 0) shared.connection.drain();
    }, this.#options.idleFor).unref();
    shared.idle.refresh();
  }
}
