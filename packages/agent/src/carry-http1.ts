/**
 * One local HTTP/1.1 connection, carried: each request head gets the identity token, all other bytes pass. Requests go
 * where `route` says; a connection that changes its destination (only proxies have such clients) waits for its turn.
 */
import type { Socket } from 'node:net';
import { MeshpassError, toMeshpassError } from '@meshpass/identity/error';
import type { ReachableService } from '@meshpass/identity/wire';
import { type RequestHead, RequestReader, writeHead } from './http1.ts';
import { writeTogether } from './pass-on.ts';
import { isPolicyRefusal, policyRefusal, renderRefusal } from './refusal.ts';
import { ResponseTracker } from './response.ts';

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
  /** @param fresh not one that an earlier client left behind */
  connect(fresh: boolean): Promise<Socket>;
  /** Takes back a connection that rests between two exchanges. */
  release?(socket: Socket): void;
}

export interface HttpCarrier {
  readonly tokenHeader: string;
  readonly sessionId: string;
  /** @throws MeshpassError: the request is refused with it */
  route(head: RequestHead): Route;
}

interface Upstream {
  readonly key: string;
  readonly route: Route;
  readonly socket: Socket;
  readonly tracker: ResponseTracker;
}

const MAX_REFUSAL = 8192;
const MAX_WAITING = 65_536;
const SAFE = new Set(['GET', 'HEAD', 'OPTIONS']);

/**
 * @param client paused or not yet read; bytes already read from it go into `first`
 * @param first bytes already read
 */
export function carryHttp1(client: Socket, carrier: HttpCarrier, first?: Buffer): void {
  const reader = new RequestReader(carrier.tokenHeader);
  let upstream: Upstream | undefined;
  let waiting: { head: RequestHead; route: Route } | undefined;
  let replayable: { head: RequestHead; route: Route } | undefined;
  let fresh = false;
  let connecting = false;
  let clientEnded = false;
  let finished = false;
  let held: Buffer | undefined; // the beginning of what may be a policy refusal

  client.on('data', (chunk: Buffer) => {
    if (finished) return;
    reader.push(chunk);
    pump();
    // Only what must wait for an answer stays in the reader: an undecided upgrade, or another destination's turn.
    if (reader.size > MAX_WAITING) client.pause();
  });
  client.on('end', () => {
    clientEnded = true;
    if (upstream?.tracker.switched) upstream.socket.end();
    else if (reader.inBody)
      client.destroy(); // the rest of the request will never come
    else settle();
  });
  client.on('drain', () => upstream?.socket.resume());
  client.on('error', () => client.destroy());
  client.once('close', () => {
    finished = true;
    upstream?.socket.destroy();
  });
  if (first?.length) {
    reader.push(first);
    pump();
  }

  /** Moves what the client has sent as far as it can go now. */
  function pump(): void {
    if (connecting || finished) return;
    let asked = waiting?.head;
    try {
      let out: Buffer | undefined;
      while (!connecting) {
        if (waiting) {
          if (upstream && upstream.key !== waiting.route.key) {
            if (out) send(out);
            out = undefined;
            if (!upstream.tracker.idle) return; // its turn comes when the destination before has answered
            letGo();
          }
          if (!upstream) {
            connect(waiting.route);
            return;
          }
          const { head, route } = waiting;
          // Sent again if a connection that was at rest turns out to be closed (RFC 9110 section 9.2.2).
          replayable =
            !fresh && head.body === 0 && SAFE.has(head.method) && upstream.tracker.idle ? waiting : undefined;
          waiting = undefined;
          upstream.tracker.expect({
            method: head.method,
            path: head.target,
            accept: head.accept,
            upgrade: head.upgrade,
          });
          const bytes = writeHead(
            route.lines === undefined ? head : { ...head, lines: route.lines },
            route.target,
            route.inserted,
          );
          out = out ? Buffer.concat([out, bytes]) : bytes;
          continue;
        }
        const piece = reader.read();
        if (!piece) break;
        if (piece.head) {
          asked = piece.head;
          waiting = { head: asked, route: carrier.route(asked) };
        } else if (out && piece.bytes.length < 16_384) {
          out = Buffer.concat([out, piece.bytes]);
        } else {
          if (out) send(out);
          out = undefined;
          send(piece.bytes);
        }
      }
      if (out) send(out);
    } catch (error) {
      refuse(toMeshpassError(error), asked);
    }
  }

  function send(bytes: Buffer): void {
    if (!upstream!.socket.write(bytes)) client.pause();
  }

  function connect(route: Route): void {
    connecting = true;
    client.pause();
    route.connect(fresh).then(
      (socket) => {
        connecting = false;
        if (finished) return void (route.release ? route.release(socket) : socket.destroy());
        attach(route, socket);
        client.resume();
        pump();
      },
      (error) => {
        connecting = false;
        if (!finished) refuse(toMeshpassError(error, 'agent_edge_unreachable'), waiting?.head);
      },
    );
  }

  function attach(route: Route, socket: Socket): void {
    const own: Upstream = { key: route.key, route, socket, tracker: new ResponseTracker() };
    upstream = own;
    socket.on('data', onResponse);
    socket.on('drain', onDrain);
    socket.on('end', onUpstreamEnd);
    socket.on('close', onUpstreamEnd);
  }

  function onDrain(): void {
    client.resume();
  }

  function onResponse(chunk: Buffer): void {
    const { tracker, route, socket } = upstream!;
    if (tracker.switched) {
      if (!client.write(chunk)) socket.pause();
      return;
    }
    const before = tracker.pending.length;
    let bytes: Buffer | undefined = chunk;
    if (route.service && (held || (tracker.atHead && (chunk[9] === 0x34 || chunk.length < 12)))) {
      bytes = tellPolicyRefusal(chunk, tracker, route.service);
      if (!bytes) return;
    } else {
      tracker.observe(chunk);
    }
    if (!writeTogether(client, bytes)) socket.pause();
    if (tracker.switched) {
      reader.decideUpgrade(true);
      pump();
      if (!socket.writableNeedDrain) client.resume();
    } else if (tracker.pending.length < before || before === 0) {
      fresh = false;
      if (!waiting && !tracker.pending.some((request) => request.upgrade)) reader.decideUpgrade(false);
      settle();
      if (waiting || !reader.empty) {
        pump();
        if (!connecting && reader.size <= MAX_WAITING && !upstream?.socket.writableNeedDrain) client.resume();
      }
    }
  }

  /** @returns the bytes for the client: a refusal that says what to do, or what came; undefined while more is awaited */
  function tellPolicyRefusal(chunk: Buffer, tracker: ResponseTracker, service: ReachableService): Buffer | undefined {
    const bytes = held ? Buffer.concat([held, chunk]) : chunk;
    const request = tracker.pending[0]!;
    const found = request.method !== 'HEAD' && bytes.length <= MAX_REFUSAL && isPolicyRefusal(bytes);
    held = found === 'part' ? bytes : undefined;
    if (held) return undefined;
    tracker.observe(bytes);
    if (!found) return bytes;
    return renderRefusal(policyRefusal(request.method, request.path, service, carrier.sessionId), {
      accept: request.accept,
      sessionId: carrier.sessionId,
      close: tracker.closing,
    });
  }

  function onUpstreamEnd(): void {
    if (!upstream || finished) return;
    const { tracker } = upstream;
    if (held) client.write(held);
    held = undefined;
    const unanswered = tracker.pending[0];
    const untouched = tracker.atHead;
    detach().destroy();
    if (tracker.switched || tracker.closing) {
      finish();
    } else if (unanswered && untouched && replayable && reader.empty) {
      waiting = replayable;
      fresh = true;
      pump();
    } else if (unanswered && untouched) {
      refuse(
        new MeshpassError(
          'agent_edge_unreachable',
          'The mesh closed the connection before it answered. Your access may have just ended, or the service restarted: ' +
            'meshpass status tells which.',
        ),
        unanswered,
      );
    } else if (unanswered) {
      client.resetAndDestroy(); // in the middle of a body: the client must not take it for whole
    } else if (waiting || !reader.empty) {
      pump();
    } else {
      finish();
    }
  }

  /** After an exchange: nothing more will come from a client that has ended, or to one whose server has. */
  function settle(): void {
    if (finished) return;
    if (!upstream) {
      if (clientEnded && !connecting) finish();
      return;
    }
    if (!upstream.tracker.idle) return;
    if (upstream.tracker.closing) {
      detach().destroy();
      finish();
    } else if (clientEnded && !waiting) {
      letGo();
      finish();
    }
  }

  function letGo(): void {
    const { route } = upstream!;
    const socket = detach();
    if (route.release && !socket.isPaused()) route.release(socket);
    else socket.destroy();
  }

  function detach(): Socket {
    const { socket } = upstream!;
    upstream = undefined;
    socket.off('data', onResponse).off('drain', onDrain).off('end', onUpstreamEnd).off('close', onUpstreamEnd);
    return socket;
  }

  function finish(): void {
    finished = true;
    client.end();
  }

  /** Answers the request that waits, then ends the connection: what follows it cannot be trusted to be framed. */
  function refuse(error: MeshpassError, request?: { readonly accept: string | undefined }): void {
    if (finished) return;
    finished = true;
    client.end(renderRefusal(error, { accept: request?.accept, sessionId: carrier.sessionId, close: true }));
    if (upstream) detach().destroy();
    client.resume();
    setTimeout(() => client.destroy(), 2000).unref();
  }
}
