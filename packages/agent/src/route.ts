/** Where an HTTP/1.1 request of a local client goes, and how. */
import type { Socket } from 'node:net';
import type { ReachableService } from '@meshpass/identity/wire';
import type { RequestHead } from './http1.ts';
import type { Http2Client } from './http2-client.ts';
import type { TranslatedRequest } from './http2-request.ts';
import type { UnderWay } from './shared-connections.ts';

export interface Route {
  /** Routes with the same key share a connection. */
  readonly key: string;
  /** What the request line names towards the destination. */
  readonly target: string;
  /** Header lines to insert, each with its CRLF: the identity token, for services of the mesh. */
  readonly inserted: string;
  /** The header lines to send on, where they are not the request's own. */
  readonly lines?: string;
  readonly service?: ReachableService;
  /** What all clients have under way to the same service. */
  readonly underWay?: UnderWay;
  /** The connection that this request should share with those of other clients, if it should; a promise never rejects. */
  share?(): Share | Promise<Share | undefined> | undefined;
  /** @param fresh not one that an earlier client left behind */
  connect(fresh: boolean): Promise<Socket>;
  /** Takes back a connection that rests between two exchanges. */
  release?(socket: Socket): void;
}

/** A request, and where it goes. */
export interface RoutedRequest {
  readonly head: RequestHead;
  readonly route: Route;
}

export interface Share {
  readonly connection: Http2Client;
  readonly request: TranslatedRequest;
}

export interface HttpCarrier {
  readonly tokenHeader: string;
  readonly sessionId: string;
  /** @throws MeshpassError: the request is refused with it */
  route(head: RequestHead): Route;
}
