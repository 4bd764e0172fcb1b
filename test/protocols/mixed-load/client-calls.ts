/** Calls as Node.js programs make them: from a pool of HTTP/1.1 connections, and as streams of one HTTP/2 session. */
import { Agent, request as requestHttp } from 'node:http';
import { type ClientHttp2Session, connect, constants } from 'node:http2';
import type { Random } from './random.ts';
import type { Target } from './raw-connections.ts';
import type { Sent, Tally } from './tally.ts';

export interface Clients {
  /** @param abortAfterMs gives the call up */
  http1(request: Sent, random: Random, abortAfterMs?: number): Promise<void>;
  http2(request: Sent, abortAfterMs?: number): Promise<void>;
  close(): void;
}

export function openClients({ host, port }: Target, tally: Tally): Clients {
  const agent = new Agent({ keepAlive: true, maxSockets: 8 });
  let session: ClientHttp2Session | undefined;
  const openSession = (): ClientHttp2Session => {
    if (session === undefined || session.closed || session.destroyed) {
      session = connect(`http://${host}:${port}`);
      session.on('error', () => {});
    }
    return session;
  };
  return {
    http1: (sent, random, abortAfterMs) =>
      new Promise((resolve) => {
        const end = settleOnce(tally, sent, abortAfterMs !== undefined, resolve);
        const { method, path, headers, body } = sent;
        const call = requestHttp({ host, port, method, path, headers, agent }, (response) => {
          const parts: Buffer[] = [];
          response.on('data', (part: Buffer) => parts.push(part));
          response.on('error', end.failed);
          response.on('end', () =>
            end.answered(response.statusCode ?? 0, response.headers, Buffer.concat(parts).toString()),
          );
        });
        call.on('error', end.failed);
        // In two parts the body is sent in chunks.
        const cut = random.below(2) === 0 ? 0 : random.below(body.length + 1);
        if (cut > 0) call.write(body.subarray(0, cut));
        call.end(body.subarray(cut));
        if (abortAfterMs !== undefined) setTimeout(() => call.destroy(), abortAfterMs);
      }),
    http2: (sent, abortAfterMs) =>
      new Promise((resolve) => {
        const end = settleOnce(tally, sent, abortAfterMs !== undefined, resolve);
        const endStream = sent.body.length === 0;
        const head = { ':method': sent.method, ':path': sent.path, ...sent.headers };
        const stream = openSession().request(head, { endStream });
        const parts: Buffer[] = [];
        let answer: Record<string, unknown> = {};
        stream.on('response', (headers) => {
          answer = headers;
        });
        stream.on('data', (part: Buffer) => parts.push(part));
        stream.on('error', end.failed);
        stream.on('close', () => end.failed(new Error('the stream was closed without an answer')));
        stream.on('end', () => {
          // A stream that is given up ends as if it were whole.
          if (stream.rstCode !== constants.NGHTTP2_NO_ERROR)
            end.failed(new Error(`the stream was reset: ${stream.rstCode}`));
          else if (answer[':status'] !== undefined)
            end.answered(Number(answer[':status']), answer, Buffer.concat(parts).toString());
        });
        if (!endStream) stream.end(sent.body);
        if (abortAfterMs !== undefined) setTimeout(() => stream.close(constants.NGHTTP2_CANCEL), abortAfterMs);
      }),
    close: () => {
      agent.destroy();
      session?.destroy();
    },
  };
}

/** The first that happens counts. @param mayFail the caller gives the call up, and an answer may still come before */
function settleOnce(tally: Tally, sent: Sent, mayFail: boolean, resolve: () => void) {
  let settled = false;
  const once = (what: () => void): void => {
    if (settled) return;
    settled = true;
    what();
    resolve();
  };
  return {
    answered: (status: number, headers: object, body: string) =>
      once(() => tally.receive(sent, { status, headers: headers as Record<string, string>, body })),
    failed: (error: Error) =>
      once(() => (mayFail || sent.headers['x-reset'] ? tally.abandon(sent) : tally.lose(sent, error.message))),
  };
}
