/** One request to a broker, and its answer: what every operator command is made of. */
import { randomUUID } from 'node:crypto';
import { request as httpRequest, type IncomingMessage } from 'node:http';
import { request as httpsRequest } from 'node:https';
import { setTimeout } from 'node:timers/promises';
import { createDpopProof } from '@meshpass/identity/dpop';
import { MeshpassError } from '@meshpass/identity/error';
import { refusalIn } from '../broker/refusal.ts';
import { readTextFile } from '../input/text-file.ts';
import type { OperatorSessionFile } from '../login/session-file.ts';

export interface Destination {
  /** Origin of a broker's listener. */
  readonly operator: string;
  /** PEM of the broker's CA; absent: the system's. */
  readonly caFile?: string | undefined;
}

export type Method = 'GET' | 'POST' | 'DELETE';

/** Answers with status 200, 202 or 204, whose body is still to be read. */
export type Send = (method: Method, path: string, body?: unknown) => Promise<IncomingMessage>;

/** The headers that say who calls. */
export type Authorize = (method: Method, url: URL) => Readonly<Record<string, string>>;

/** Seconds to wait for a broker that started in the second of the proof, or whose clock is ahead: it has done nothing yet, and says to try again. */
const RESTART_TRIES = 3;
const MAX_ANSWER = 64 * 1024 * 1024;
const DONE = new Set([200, 202, 204]);

/**
 * @param patienceMs how long the broker may be silent
 * @throws MeshpassError `usage` where the URL is no origin; the call: what the broker answered, or `agent_broker_unreachable`
 */
export function createSend(options: Destination, authorize: Authorize, patienceMs: number): Send {
  const ca = options.caFile === undefined ? undefined : readTextFile(options.caFile, '--ca-file');
  if (!/^https?:\/\/[^/]+\/?$/.test(options.operator) || !URL.canParse(options.operator))
    throw new MeshpassError(
      'usage',
      `--operator must be an origin such as http://127.0.0.1:9090, not ${options.operator}.`,
    );
  return async function send(method, path, body, mayWait = RESTART_TRIES): Promise<IncomingMessage> {
    const url = new URL(path, options.operator);
    const content = body === undefined ? undefined : JSON.stringify(body);
    const headers = {
      ...authorize(method, url),
      ...(content !== undefined && {
        'content-type': 'application/json',
        'content-length': Buffer.byteLength(content),
      }),
    };
    const request = url.protocol === 'https:' ? httpsRequest : httpRequest;
    const response = await new Promise<IncomingMessage>((resolve, reject) => {
      const sent = request(url, { method, headers, agent: false, timeout: patienceMs, ...(ca && { ca }) }, resolve);
      sent.on('timeout', () => sent.destroy(new Error(`no answer in ${patienceMs / 1000} s`)));
      sent.on('error', (cause) => reject(unreachable(options, cause)));
      sent.end(content);
    });
    if (DONE.has(response.statusCode ?? 0)) return response;
    const answer = parse(await bounded(response, MAX_ANSWER).catch(() => ''));
    const retryAfter = Number(response.headers['retry-after']);
    if (answer?.error_code === 'dpop_expired' && mayWait > 0 && retryAfter === 1) {
      await setTimeout(1000);
      return await send(method, path, body, mayWait - 1);
    }
    throw refusalIn(answer) ?? notABroker(response);
  };
}

/**
 * @returns the JSON of an answer; undefined where it has none
 * @throws MeshpassError `agent_broker_unreachable`
 */
export async function jsonOf(
  response: IncomingMessage,
  options: Destination,
): Promise<Readonly<Record<string, unknown>> | undefined> {
  if (response.statusCode === 204) {
    response.resume();
    return undefined;
  }
  const json = parse(await bounded(response, MAX_ANSWER).catch((cause) => Promise.reject(unreachable(options, cause))));
  if (json === undefined) throw notABroker(response);
  return json;
}

/** By the session of who has signed in, with a proof for just this request (RFC 9449). */
export function bySession({ broker, key, token: accessToken }: OperatorSessionFile): Authorize {
  return (method, url) => {
    const now = Math.floor(Date.now() / 1000);
    const proof = { key, method, url: new URL(url.pathname, broker).href, now, jti: randomUUID(), accessToken };
    return { authorization: `DPoP ${accessToken}`, dpop: createDpopProof(proof) };
  };
}

/** @throws an Error where the body breaks off or is larger than `most` bytes */
async function bounded(response: IncomingMessage, most: number): Promise<string> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of response as AsyncIterable<Buffer>) {
    chunks.push(chunk);
    size += chunk.length;
    if (size > most) throw new Error('the answer is too large');
  }
  return Buffer.concat(chunks).toString('utf8');
}

function parse(json: string): Readonly<Record<string, unknown>> | undefined {
  try {
    return JSON.parse(json) as Readonly<Record<string, unknown>>;
  } catch {
    return undefined;
  }
}

export function unreachable({ operator }: Destination, cause: unknown): MeshpassError {
  return new MeshpassError('agent_broker_unreachable', `The broker does not answer at ${new URL(operator).origin}.`, {
    cause,
  });
}

function notABroker({ statusCode = 0 }: IncomingMessage): MeshpassError {
  return new MeshpassError(
    'agent_broker_unreachable',
    `What answers is not a broker: status ${statusCode}. Check --operator.`,
  );
}
