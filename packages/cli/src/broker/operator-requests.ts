/** Sends requests to a broker. All operator commands use this module. */
import { randomUUID } from 'node:crypto';
import { request as httpRequest, type IncomingMessage } from 'node:http';
import { request as httpsRequest } from 'node:https';
import { text as textOf } from 'node:stream/consumers';
import { setTimeout } from 'node:timers/promises';
import { createDpopProof, type DpopKey, MeshpassError, parseJson, readBounded } from '@meshpass/identity';
import { linesOf, readTextFile } from '../input/files.ts';
import { parseRefusal } from './request.ts';

export interface OperatorEndpoint {
  /** The origin of the broker listener to connect to. */
  readonly operator: string;
  /** The path to a PEM file with the broker's CA. Defaults to the system's roots. */
  readonly caFile?: string | undefined;
}

export type Method = 'GET' | 'POST' | 'DELETE';

/**
 * The body of a response with status 200 or 204, which has not been read yet. Reading it throws MeshpassError
 * `agent_broker_unreachable` if the response is cut off.
 */
export interface ResponseBody {
  /** Parses the body. Returns undefined if there is none. */
  json(): Promise<Readonly<Record<string, unknown>> | undefined>;
  text(): Promise<string>;
  /** Returns the lines as they arrive. */
  lines(): AsyncIterable<string>;
}

/** Sends a request. A URLSearchParams body is sent as a form, and any other body as JSON. */
export type Send = (method: Method, path: string, body?: unknown) => Promise<ResponseBody>;

/** Returns the headers that authenticate a request. */
type RequestAuthenticator = (method: Method, url: URL) => Readonly<Record<string, string>>;

/**
 * The number of times a request is retried, at intervals of one second. A broker that started within the same second as
 * the proof was created, or whose clock is ahead, rejects the request without executing it and tells the client to
 * retry.
 */
const RESTART_TRIES = 3;
const MAX_ANSWER = 64 * 1024 * 1024;
const DONE = new Set([200, 204]);
const PATIENCE_MS = 30_000;

/**
 * Creates a function that sends requests to the broker.
 * @param patienceMs how long the broker may stay silent, in milliseconds
 * @throws MeshpassError `usage` if the URL is not an origin. The created function throws the error that the broker
 *   returns, or `agent_broker_unreachable`
 */
export function createSender(
  options: OperatorEndpoint,
  authorize: RequestAuthenticator,
  patienceMs = PATIENCE_MS,
): Send {
  const ca = options.caFile === undefined ? undefined : readTextFile(options.caFile, '--ca-file');
  if (!/^https?:\/\/[^/]+\/?$/.test(options.operator) || !URL.canParse(options.operator))
    throw new MeshpassError(
      'usage',
      `--operator must be an origin such as http://127.0.0.1:9090, not ${options.operator}.`,
    );
  return async function send(method, path, body, mayWait = RESTART_TRIES): Promise<ResponseBody> {
    const url = new URL(path, options.operator);
    const isForm = body instanceof URLSearchParams;
    const content = body === undefined ? undefined : isForm ? body.toString() : JSON.stringify(body);
    const headers = {
      ...authorize(method, url),
      ...(content !== undefined && {
        'content-type': isForm ? 'application/x-www-form-urlencoded' : 'application/json',
        'content-length': Buffer.byteLength(content),
      }),
    };
    const request = url.protocol === 'https:' ? httpsRequest : httpRequest;
    const response = await new Promise<IncomingMessage>((resolve, reject) => {
      const sent = request(url, { method, headers, agent: false, timeout: patienceMs, ...(ca && { ca }) }, resolve);
      sent.on('timeout', () => sent.destroy(new Error(`no response in ${patienceMs / 1000} s`)));
      sent.on('error', (cause) => reject(unreachable(options, cause)));
      sent.end(content);
    });
    if (DONE.has(response.statusCode ?? 0)) return bodyOf(response, (cause) => unreachable(options, cause));
    const answer = await readJson(response).catch(() => undefined);
    const retryAfter = Number(response.headers['retry-after']);
    if (answer?.error_code === 'dpop_expired' && mayWait > 0 && retryAfter === 1) {
      await setTimeout(1000);
      return await send(method, path, body, mayWait - 1);
    }
    throw parseRefusal(answer) ?? notABroker(response);
  };
}

function bodyOf(response: IncomingMessage, failure: (cause: unknown) => MeshpassError): ResponseBody {
  return {
    json: async () => {
      if (response.statusCode === 204) {
        response.resume();
        return undefined;
      }
      const json = await readJson(response).catch((cause) => Promise.reject(failure(cause)));
      if (json === undefined) throw notABroker(response);
      return json;
    },
    text: () => textOf(response).catch((cause) => Promise.reject(failure(cause))),
    lines: () => linesOf(response, failure),
  };
}

/**
 * Authenticates each request with its own DPoP proof (RFC 9449).
 * @param broker the broker's public URL, which the proofs are bound to
 * @param token the session token. It is omitted during sign-in, when the key has no session yet
 */
export function createDpopAuthenticator({
  broker,
  key,
  token,
}: {
  broker: string;
  key: DpopKey;
  token?: string;
}): RequestAuthenticator {
  return (method, { pathname }) => {
    const now = Math.floor(Date.now() / 1000);
    const request = { key, method, url: new URL(pathname, broker).href, now, jti: randomUUID() };
    const dpop = createDpopProof({ ...request, ...(token !== undefined && { accessToken: token }) });
    return { dpop, ...(token !== undefined && { authorization: `DPoP ${token}` }) };
  };
}

async function readJson(response: IncomingMessage): Promise<Readonly<Record<string, unknown>> | undefined> {
  const body = await readBounded(response, MAX_ANSWER);
  return parseJson(body.toString('utf8')) as Readonly<Record<string, unknown>> | undefined;
}

function unreachable({ operator }: OperatorEndpoint, cause: unknown): MeshpassError {
  const message = `No broker is responding at ${new URL(operator).origin}. If this is a port-forward, start it again: it ends when the active broker changes.`;
  return new MeshpassError('agent_broker_unreachable', message, { cause });
}

function notABroker({ statusCode = 0 }: IncomingMessage): MeshpassError {
  return new MeshpassError(
    'agent_broker_unreachable',
    `The server is not a broker (status ${statusCode}). Check --operator.`,
  );
}
