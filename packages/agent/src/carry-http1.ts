/**
 * One local HTTP/1.1 connection, carried: each request head gets the identity token, all other bytes pass. Requests go
 * where `route` says; a connection that changes its destination (only proxies have such clients) waits for its turn. A
 * request that others are under way beside goes over the connection that they share, said in HTTP/2.
 */
import type { Socket } from 'node:net';
import { type MeshpassError, toMeshpassError } from '@meshpass/identity/error';
import { RequestReader } from './http1.ts';
import { CountedRequest, Http1Upstream } from './http1-upstream.ts';
import { closeAfterAnswer, writeTogether } from './pass-on.ts';
import { PolicyAnswers } from './policy-answer.ts';
import { closedUnanswered, renderRefusal } from './refusal.ts';
import type { HttpCarrier, Route, RoutedRequest, Share } from './route.ts';
import { type ExchangeEnd, SharedExchange } from './shared-exchange.ts';

const MAX_WAITING = 65_536;
const SAFE = new Set(['GET', 'HEAD', 'OPTIONS']);

/**
 * @param client paused or not yet read; bytes already read from it go into `first`
 * @param first bytes already read
 */
export function carryHttp1(client: Socket, carrier: HttpCarrier, first?: Buffer): void {
  const reader = new RequestReader(carrier.tokenHeader);
  const answers = new PolicyAnswers(carrier.sessionId);
  let upstream: Http1Upstream | undefined;
  let exchange: SharedExchange | undefined; // in place of an upstream
  let waiting: RoutedRequest | undefined;
  let replayable: RoutedRequest | undefined;
  let fresh = false;
  let connecting = false;
  let clientEnded = false;
  let finished = false;
  const counted = new CountedRequest();

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
  client.on('drain', () => {
    upstream?.socket.resume();
    exchange?.drained();
  });
  client.on('error', () => client.destroy());
  client.once('close', () => {
    finished = true;
    counted.leave();
    exchange?.cancel();
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
          // One that is counted has been given a connection of its own.
          const share = fresh || counted.in ? undefined : waiting.route.share?.();
          if (share instanceof Promise) {
            if (!upstream) {
              awaitShare(share);
              return;
            }
          } else if (share) {
            exchangeShared(waiting, share);
            continue;
          }
          if (upstream && upstream.route.key !== waiting.route.key) {
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
          counted.enter(route);
          const bytes = upstream.expect(head, route);
          out = out ? Buffer.concat([out, bytes]) : bytes;
          continue;
        }
        if (exchange && !reader.inBody) break; // its response comes first
        const piece = reader.read();
        if (!piece) break;
        if (piece.head) {
          asked = piece.head;
          waiting = { head: asked, route: carrier.route(asked) };
        } else if (exchange) {
          if (!exchange.send(piece.bytes)) client.pause();
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

  function awaitShare(soon: Promise<Share | undefined>): void {
    connecting = true;
    client.pause();
    void soon.then((share) => {
      connecting = false;
      if (finished) return;
      if (share?.connection.ready) exchangeShared(waiting!, share);
      else counted.enter(waiting!.route);
      client.resume();
      pump();
    });
  }

  function exchangeShared(asked: RoutedRequest, { connection, request }: Share): void {
    const { head, route } = asked;
    waiting = undefined;
    if (upstream) letGo();
    counted.enter(route);
    exchange = new SharedExchange({
      ...{ client, connection, head, request, service: route.service!, sessionId: carrier.sessionId },
      ended: (end) => endExchange(end, asked),
    });
  }

  function endExchange(end: ExchangeEnd, asked: RoutedRequest): void {
    exchange = undefined;
    counted.leave();
    if (finished) return;
    if (end.kind === 'broken') {
      client.resetAndDestroy(); // the client must not take it for whole
    } else if (end.kind === 'unanswered') {
      const { method, body } = asked.head;
      // RFC 9113 section 8.7 allows any request that was not processed, RFC 9110 section 9.2.2 any safe one.
      if (!fresh && body === 0 && (end.unprocessed || SAFE.has(method))) {
        waiting = asked;
        fresh = true;
        pump();
      } else {
        refuse(closedUnanswered(), asked.head);
      }
    } else if (end.close) {
      finished = true;
      closeAfterAnswer(client);
    } else {
      settle();
      pump();
      if (!finished && !connecting && reader.size <= MAX_WAITING) client.resume();
    }
  }

  function send(bytes: Buffer): void {
    if (!upstream!.socket.write(bytes)) client.pause();
  }

  function connect(route: Route): void {
    connecting = true;
    counted.enter(route);
    client.pause();
    route.connect(fresh).then(
      (socket) => {
        connecting = false;
        if (finished) return void (route.release ? route.release(socket) : socket.destroy());
        const drained = () => client.resume();
        upstream = new Http1Upstream(route, socket, { response: onResponse, drained, ended: onUpstreamEnd });
        client.resume();
        pump();
      },
      (error) => {
        connecting = false;
        if (!finished) refuse(toMeshpassError(error, 'agent_edge_unreachable'), waiting?.head);
      },
    );
  }

  function onResponse(chunk: Buffer): void {
    const { tracker, route, socket } = upstream!;
    if (tracker.switched) {
      if (!client.write(chunk)) socket.pause();
      return;
    }
    const before = tracker.pending.length;
    if (!route.service) tracker.observe(chunk);
    const bytes = route.service ? answers.pass(chunk, tracker, route.service) : chunk;
    if (!bytes) return;
    if (!writeTogether(client, bytes)) socket.pause();
    if (tracker.switched) {
      counted.leave();
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

  function onUpstreamEnd(): void {
    if (!upstream || finished) return;
    const { tracker } = upstream;
    const held = answers.release();
    if (held) client.write(held);
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
      refuse(closedUnanswered(), unanswered);
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
    if (finished || exchange) return;
    if (!upstream) {
      if (clientEnded && !connecting) finish();
      return;
    }
    if (!upstream.tracker.idle) return;
    counted.leave();
    if (upstream.tracker.closing) {
      detach().destroy();
      finish();
    } else if (clientEnded && !waiting) {
      letGo();
      finish();
    }
  }

  function letGo(): void {
    const left = upstream!;
    upstream = undefined;
    counted.leave();
    left.letGo();
  }

  function detach(): Socket {
    const left = upstream!;
    upstream = undefined;
    counted.leave();
    return left.detach();
  }

  function finish(): void {
    finished = true;
    client.end();
  }

  /** Answers the request that waits, then ends the connection: what follows it cannot be trusted to be framed. */
  function refuse(error: MeshpassError, request?: { readonly accept: string | undefined }): void {
    if (finished) return;
    finished = true;
    client.write(renderRefusal(error, { accept: request?.accept, sessionId: carrier.sessionId, close: true }));
    if (upstream) detach().destroy();
    closeAfterAnswer(client);
  }
}
