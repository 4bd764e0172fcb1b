/** HTTP/1.1 and HTTP/2 as programs use them: long uploads, early answers, streams of events. */
import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { Agent, type IncomingMessage, type RequestOptions, request } from 'node:http';
import { connect } from 'node:http2';
import { text } from 'node:stream/consumers';
import type { Echoed } from '@meshpass/lab/apps/echo/http';
import type { Exchange } from './exchange.ts';

const TIMEOUT_MS = 30_000;
const UPLOAD_BYTES = 64 * 1024 ** 2;
const CHUNK_BYTES = 64 * 1024;

/** Ten requests, one after the other, on one connection. */
export const keepAlive: Exchange = async (authority) => {
  const agent = new Agent({ keepAlive: true, maxSockets: 1 });
  const ports = new Set<number | undefined>();
  for (let n = 0; n < 10; n++) {
    const call = open(authority, { path: `/kept/${n}`, agent });
    call.end();
    const response = await answerTo(call);
    ports.add(call.socket?.localPort);
    const { path } = JSON.parse(await text(response)) as Echoed;
    if (response.statusCode !== 200 || path !== `/kept/${n}`) return `${response.statusCode} for ${path}`;
  }
  agent.destroy();
  return `10 answers on ${ports.size} connection`;
};

/** HTTP/2 without TLS, by prior knowledge: fifty streams at once, each with a body. */
export const http2: Exchange = async (authority) => {
  const session = connect(`http://${authority}`);
  session.on('error', () => {});
  const one = async (n: number): Promise<boolean> => {
    const stream = session.request({ ':method': 'POST', ':path': `/h2/${n}` });
    stream.setTimeout(TIMEOUT_MS, () => stream.destroy(new Error('no answer')));
    stream.end('x'.repeat(n));
    const [headers] = (await once(stream, 'response')) as [{ ':status'?: number }];
    const { path, body } = JSON.parse(await text(stream)) as Echoed;
    return headers[':status'] === 200 && path === `/h2/${n}` && body.bytes === n;
  };
  const answered = await Promise.all(Array.from({ length: 50 }, (_, n) => one(n)));
  session.destroy();
  return `${answered.filter((right) => right).length} right answers on 1 connection`;
};

/** The events of a stream arrive when they are sent, not when it ends. */
export const serverSentEvents: Exchange = async (authority) => {
  const call = open(authority, { path: '/events/20' });
  call.end();
  const parts: string[] = [];
  for await (const part of await answerTo(call)) parts.push(String(part));
  const events = parts.join('').match(/^data: event \d+$/gm) ?? [];
  return `${events.length} events, ${parts.length > 1 ? 'as they are sent' : 'all at the end'}`;
};

export const upload: Exchange = async (authority) => {
  const call = open(authority, { path: '/upload', method: 'POST' });
  const hash = createHash('sha256');
  for (let sent = 0; sent < UPLOAD_BYTES; sent += CHUNK_BYTES) {
    const chunk = randomBytes(CHUNK_BYTES);
    hash.update(chunk);
    if (!call.write(chunk)) await once(call, 'drain');
  }
  call.end();
  const { body } = JSON.parse(await text(await answerTo(call))) as Echoed;
  return `${body.bytes} bytes, ${body.sha256 === hash.digest('hex') ? 'unchanged' : 'changed'}`;
};

/** The refusal of a service that does not read a body arrives, although the client still sends the body. */
export const early413: Exchange = async (authority) => {
  const headers = { 'content-length': UPLOAD_BYTES };
  const call = open(authority, { path: '/refuse', method: 'POST', headers });
  call.on('error', () => {}); // after the answer the connection is closed under the body
  const answered = answerTo(call);
  call.write(Buffer.alloc(CHUNK_BYTES));
  const response = await answered;
  call.destroy();
  return `${response.statusCode} before the body`;
};

export const expectContinue: Exchange = async (authority) => {
  const headers = { expect: '100-continue', 'content-length': 5 };
  const call = open(authority, { path: '/continue', method: 'PUT', headers });
  call.flushHeaders();
  await once(call, 'continue', { signal: AbortSignal.timeout(TIMEOUT_MS) });
  call.end('hello');
  const response = await answerTo(call);
  const { body } = JSON.parse(await text(response)) as Echoed;
  return `100, then ${response.statusCode} for ${body.bytes} bytes`;
};

function open(authority: string, options: RequestOptions) {
  return request(`http://${authority}`, { agent: false, signal: AbortSignal.timeout(TIMEOUT_MS), ...options });
}

async function answerTo(call: ReturnType<typeof open>): Promise<IncomingMessage> {
  const [response] = (await once(call, 'response')) as [IncomingMessage];
  return response;
}
