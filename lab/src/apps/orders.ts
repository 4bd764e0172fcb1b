/**
 * orders.shop: the sample HTTP service. It does little for each request, so that a benchmark measures the data path to it.
 *
 *     GET  /orders/ID     an order; with ?after=MS it takes so long
 *     POST /refunds       a refund
 *     GET  /admin/...     what developers should not see
 *     GET  /whoami        what this service was told about its caller
 *     GET  /bytes/N       N bytes
 *     ANY  /echo          the body that came
 */
import type { IncomingMessage, ServerResponse } from 'node:http';
import { listen, sendJson } from './listen.ts';

const CHUNK = Buffer.alloc(256 * 1024, 0x6d);
const LONGEST_MS = 60_000;
const MAX_BYTES = 64 * 1024 ** 3;

function answer(request: IncomingMessage, response: ServerResponse): void {
  const url = request.url ?? '/';
  const query = url.indexOf('?');
  const path = query < 0 ? url : url.slice(0, query);
  if (path.startsWith('/orders/')) {
    const send = () => sendJson(response, 200, { id: path.slice('/orders/'.length), state: 'shipped', total: 4200 });
    if (query < 0) send();
    else setTimeout(send, afterOf(url.slice(query)));
  } else if (path === '/whoami') {
    sendJson(response, 200, whoAmI(request));
  } else if (path.startsWith('/bytes/')) {
    sendBytes(response, Number(path.slice('/bytes/'.length)));
  } else if (path === '/echo') {
    echo(request, response);
  } else if (path === '/refunds' && request.method === 'POST') {
    sendJson(response, 201, { id: 'refund-1', state: 'accepted' });
  } else if (path.startsWith('/admin')) {
    sendJson(response, 200, { admin: true, secret: 'the list of all customers' });
  } else {
    sendJson(response, 404, { error: 'not_found', path });
  }
}

/** ms */
function afterOf(query: string): number {
  const after = Number(new URLSearchParams(query).get('after'));
  return after > 0 ? Math.min(after, LONGEST_MS) : 0;
}

/** The peer as its own sidecar saw it, and the identity headers that the sidecar took from a valid token. */
function whoAmI(request: IncomingMessage): object {
  const certificate = String(request.headers['x-forwarded-client-cert'] ?? '');
  const identity = Object.entries(request.headers).filter(([name]) => name.startsWith('x-meshpass-'));
  return {
    service: 'orders.shop',
    principal: /(?:^|[;,])URI=([^;,]*)/.exec(certificate)?.[1],
    identity: Object.fromEntries(identity),
    authorization: request.headers.authorization !== undefined,
    host: request.headers.host,
    path: request.url,
  };
}

function sendBytes(response: ServerResponse, total: number): void {
  if (!Number.isSafeInteger(total) || total < 0 || total > MAX_BYTES) {
    sendJson(response, 400, { error: 'bad_length' });
    return;
  }
  response.writeHead(200, { 'content-type': 'application/octet-stream', 'content-length': total });
  let left = total;
  const send = (): void => {
    while (left > 0) {
      const chunk = left < CHUNK.length ? CHUNK.subarray(0, left) : CHUNK;
      left -= chunk.length;
      if (!response.write(chunk)) {
        response.once('drain', send);
        return;
      }
    }
    response.end();
  };
  send();
}

function echo(request: IncomingMessage, response: ServerResponse): void {
  response.writeHead(200, { 'content-type': request.headers['content-type'] ?? 'application/octet-stream' });
  request.pipe(response);
}

listen(9090, (_request, response) => sendJson(response, 200, { admin: true, port: 9090 }));
listen(8080, answer);
