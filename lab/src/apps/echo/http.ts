/**
 * The HTTP side of echo.shop.
 *
 *     ANY  any path       what arrived, as `Echoed`
 *     GET  /seen/ID       how many requests with `x-call-id: ID` arrived here, and with what authorities
 *     PUT  /mode/STATUS   from now on all others answer with this status; 200 ends that
 *     GET  /events/N      N server-sent events
 *     POST /refuse        413 at once: the body is not read
 *     WebSocket           sends back what comes
 *
 * Headers of any other request:
 *
 *     x-call-id           an id of the caller's own, which the answer repeats in a header
 *     x-status            the status to answer with
 *     x-fail-times        503, or `x-status`, to the first N requests with this `x-call-id`, then 200
 *     x-delay-ms          answer later
 *     x-reset             close the connection without an answer
 *     x-answer-bytes      make the answer at least this long
 *     x-refuse-continue   to `Expect: 100-continue`: 413 instead of 100
 */
import { createHash } from 'node:crypto';
import {
  createServer,
  type IncomingHttpHeaders,
  type IncomingMessage,
  type Server,
  type ServerResponse,
} from 'node:http';
import type { Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { sendJson } from '../listen.ts';
import { echoWebSocket } from './websocket.ts';

/** Description of a caller's request that the service returns. */
export interface Echoed {
  readonly version: string;
  readonly method: string;
  readonly path: string;
  readonly headers: IncomingHttpHeaders;
  readonly body: { readonly bytes: number; readonly sha256: string };
  /** Number of the connection on which it came, from 1. */
  readonly connection: number;
  /** The how manieth request with this `x-call-id` it is. */
  readonly attempt: number;
}

const MAX_CALLS = 100_000;
const MAX_DELAY_MS = 60_000;
const MAX_ANSWER_BYTES = 16 * 1024 ** 2;

/** @returns makes servers that share what they have seen */
export function echoServer(version: string): () => Server {
  const seen = new Map<string, string[]>();
  const connections = new WeakMap<Socket, number>();
  let connected = 0;
  let mode = 200;

  const see = ({ headers }: IncomingMessage): number => {
    const id = headers['x-call-id'];
    if (typeof id !== 'string') return 1;
    if (seen.size >= MAX_CALLS) seen.delete(seen.keys().next().value!);
    const authorities = seen.get(id) ?? [];
    authorities.push(headers.host ?? '');
    seen.set(id, authorities);
    return authorities.length;
  };

  const answer = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    const [, first, second = ''] = (request.url ?? '/').split('/');
    if (first === 'seen') return sendJson(response, 200, { authorities: seen.get(second) ?? [] });
    if (first === 'mode' && request.method === 'PUT') {
      mode = Number(second);
      return sendJson(response, 200, { mode });
    }
    if (first === 'events') return sendEvents(response, Number(second));
    if (first === 'refuse') return refuse(response);
    const { headers } = request;
    const attempt = see(request);
    response.setHeader('x-version', version);
    if (headers['x-call-id'] !== undefined) response.setHeader('x-call-id', headers['x-call-id']);
    const body = await digest(request);
    if (headers['x-delay-ms'] !== undefined) await sleep(Math.min(Number(headers['x-delay-ms']), MAX_DELAY_MS));
    if (headers['x-reset'] !== undefined) return void request.socket.destroy();
    const connection = connections.get(request.socket) ?? 0;
    const echoed: Echoed = { version, method: request.method!, path: request.url!, headers, body, connection, attempt };
    const padding = 'x'.repeat(Math.min(Number(headers['x-answer-bytes'] ?? 0), MAX_ANSWER_BYTES));
    sendJson(response, statusFor(headers, attempt, mode), padding === '' ? echoed : { ...echoed, padding });
  };

  return () => {
    const handle = (request: IncomingMessage, response: ServerResponse): void => {
      answer(request, response).catch(() => request.socket.destroy());
    };
    const server = createServer({ keepAliveTimeout: 60_000, requestTimeout: 0 }, handle);
    server.on('connection', (socket: Socket) => connections.set(socket, ++connected));
    server.on('upgrade', (request, socket, head) => echoWebSocket(request, socket, head, version));
    server.on('checkContinue', (request: IncomingMessage, response: ServerResponse) => {
      if (request.headers['x-refuse-continue'] !== undefined) return refuse(response);
      response.writeContinue();
      handle(request, response);
    });
    return server;
  };
}

function statusFor(headers: IncomingHttpHeaders, attempt: number, mode: number): number {
  const status = headers['x-status'] === undefined ? undefined : Number(headers['x-status']);
  if (headers['x-fail-times'] === undefined) return status ?? mode;
  return attempt <= Number(headers['x-fail-times']) ? (status ?? 503) : mode;
}

async function digest(request: IncomingMessage): Promise<Echoed['body']> {
  const hash = createHash('sha256');
  let bytes = 0;
  for await (const part of request as AsyncIterable<Buffer>) {
    bytes += part.length;
    hash.update(part);
  }
  return { bytes, sha256: hash.digest('hex') };
}

function refuse(response: ServerResponse): void {
  response.setHeader('connection', 'close');
  sendJson(response, 413, { error: 'too_large' });
}

/** Sends each event after the previous one, with its number. */
async function sendEvents(response: ServerResponse, count: number): Promise<void> {
  response.writeHead(200, { 'content-type': 'text/event-stream', 'cache-control': 'no-store' });
  for (let n = 1; n <= count && !response.destroyed; n++) {
    response.write(`id: ${n}\ndata: event ${n}\n\n`);
    await sleep(10);
  }
  response.end();
}
