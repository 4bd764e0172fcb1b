/** The connection to a service, or to an outside host, that one local HTTP/1.1 connection uses at the moment. */
import type { Socket } from 'node:net';
import { type RequestHead, writeHead } from './http1.ts';
import { ResponseTracker } from './response.ts';
import type { Route } from './route.ts';

interface Listener {
  response(chunk: Buffer): void;
  drained(): void;
  /** The server has ended or closed it; may be called twice. */
  ended(): void;
}

export class Http1Upstream {
  readonly tracker = new ResponseTracker();
  readonly route: Route;
  readonly socket: Socket;
  readonly #listener: Listener;

  /** @param socket connected, and not yet read */
  constructor(route: Route, socket: Socket, listener: Listener) {
    this.route = route;
    this.socket = socket;
    this.#listener = listener;
    socket.on('data', listener.response).on('drain', listener.drained);
    socket.on('end', listener.ended).on('close', listener.ended);
  }

  /**
   * Expects the answer to a request that goes over this connection now.
   * @param route the request's own, of the same key
   * @returns the head to send
   */
  expect(head: RequestHead, route: Route): Buffer {
    const { method, target, accept, upgrade } = head;
    this.tracker.expect({ method, path: target, accept, upgrade });
    const written = route.lines === undefined ? head : { ...head, lines: route.lines };
    return writeHead(written, route.target, route.inserted);
  }

  /** Stops to listen; the socket is the caller's. */
  detach(): Socket {
    const { response, drained, ended } = this.#listener;
    return this.socket.off('data', response).off('drain', drained).off('end', ended).off('close', ended);
  }

  /** Leaves a connection that is at rest to the next that needs one. */
  letGo(): void {
    const socket = this.detach();
    if (this.route.release && !socket.isPaused()) this.route.release(socket);
    else socket.destroy();
  }
}

/** A request of one local connection, as one of those that all clients have under way to the same service. */
export class CountedRequest {
  #leave: (() => void) | undefined;

  /** Whether it is counted. */
  get in(): boolean {
    return this.#leave !== undefined;
  }

  /** Counts it, unless it is counted already. */
  enter(route: Route): void {
    this.#leave ??= route.underWay?.add();
  }

  leave(): void {
    this.#leave?.();
    this.#leave = undefined;
  }
}
