/** A workload of both protocols behind a whole agent, and its HTTP/1.1 clients. */
import { Agent, createServer as createHttp1Server, request as httpRequest, type IncomingMessage } from 'node:http';
import { createServer as createHttp2Server, type Http2ServerRequest, type Http2ServerResponse } from 'node:http2';
import { connect, type Socket } from 'node:net';
import type { TLSSocket } from 'node:tls';
import { expect } from 'vitest';
import { afterThisTest, type World, type WorldOptions, world } from '../world.ts';

export type Handler = (request: Http2ServerRequest, response: Http2ServerResponse) => void;
export interface Echo {
  readonly version: string;
  readonly method: string;
  readonly url: string;
  readonly headers: Record<string, string>;
  readonly body: string;
}
export interface Answer {
  readonly status: number;
  readonly headers: IncomingMessage['headers'];
  readonly trailers: IncomingMessage['trailers'];
  readonly body: string;
}
export interface Ask {
  readonly method?: string;
  readonly headers?: Record<string, string | string[]>;
  readonly body?: string | Buffer;
  readonly agent?: Agent;
  readonly port?: number;
}

/** A workload that tells what it saw, in both protocols, unless `handler` answers. `/hold` is never answered to its end. */
export async function workload(
  handler: (path: string) => Handler | undefined = () => undefined,
  options: WorldOptions = {},
) {
  const answer: Handler = (request, response) => {
    const url = request.url;
    const own = handler(url);
    if (own) return own(request, response);
    if (url.endsWith('/hold')) {
      response.writeHead(200);
      response.write('held');
      return;
    }
    const parts: Buffer[] = [];
    request.on('data', (part: Buffer) => parts.push(part));
    request.on('end', () => {
      const { httpVersion: version, method, headers } = request;
      const echo = JSON.stringify({ version, method, url, headers, body: Buffer.concat(parts).toString('latin1') });
      response.writeHead(200, { 'content-type': 'application/json', 'content-length': echo.length });
      response.end(echo);
    });
  };
  const http1 = createHttp1Server(answer as never);
  const http2 = createHttp2Server(answer);
  const sessions = new Set<import('node:http2').ServerHttp2Session>();
  http2.on('session', (session) => {
    sessions.add(session);
    session.on('error', () => {});
    session.once('close', () => sessions.delete(session));
  });
  const w = await world({
    ...options,
    onConnection: (socket: TLSSocket) =>
      (socket.alpnProtocol === 'istio-h2' ? http2 : http1).emit('connection', socket),
  });
  const agent = new Agent({ keepAlive: true });
  afterThisTest(() => agent.destroy());
  const ask = (path: string, how: Ask = {}) => call(w, path, { agent, ...how });
  const echo = async (path: string, how: Ask = {}) => JSON.parse((await ask(path, how)).body) as Echo;
  return { w, ask, echo, sessions };
}

export function addressOf(w: World, port: number): string {
  return w.agent.status().services.find((one) => one.port === port)!.address!;
}

export function call(
  w: World,
  path: string,
  { method = 'GET', headers = {}, body, agent, port = 8080 }: Ask,
): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const request = httpRequest(
      {
        host: addressOf(w, port),
        port,
        path,
        method,
        headers: { host: `orders.shop:${port}`, ...headers },
        ...(agent && { agent }),
      },
      (response) => {
        let text = '';
        response.setEncoding('latin1');
        response.on('data', (part: string) => {
          text += part;
        });
        response.on('error', reject);
        response.on('end', () => {
          const { statusCode: status = 0, headers: seen, trailers } = response;
          resolve({ status, headers: seen, trailers, body: text });
        });
      },
    );
    request.on('error', reject);
    request.end(body);
  });
}

/** A request that stays under way, so that every other one finds it; returns once others are shared. */
export async function underWay(
  w: World,
  echo: (path: string, how?: Ask) => Promise<Echo>,
  port = 8080,
): Promise<Socket> {
  const socket = open(w, port);
  socket.write(`GET /hold HTTP/1.1\r\nHost: orders.shop:${port}\r\n\r\n`);
  await expect.poll(() => socket.bytesRead).toBeGreaterThan(0);
  await expect.poll(async () => (await echo('/', { port })).version).toBe('2.0');
  return socket;
}

export function open(w: World, port = 8080): Socket {
  const socket = connect({ host: addressOf(w, port), port, allowHalfOpen: true });
  afterThisTest(() => socket.destroy());
  socket.on('error', () => {});
  return socket;
}

/** What comes until the connection ends, and how it ended. */
export function everything(socket: Socket): Promise<{ text: string; cut: boolean }> {
  return new Promise((resolve) => {
    let text = '';
    socket.on('data', (part: Buffer) => {
      text += part.toString('latin1');
    });
    socket.once('end', () => resolve({ text, cut: false }));
    socket.once('error', () => resolve({ text, cut: true }));
  });
}

export const connectionsOf = (w: World) => w.workload.seen.filter(({ alpn }) => alpn === 'istio-h2').length;
