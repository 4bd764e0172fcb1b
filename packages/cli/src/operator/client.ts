/** The broker as an operator calls it, signed in or with a token, at its operator listener; or as a job calls it, at its public URL. */
import { randomUUID } from 'node:crypto';
import { request as httpRequest, type IncomingMessage } from 'node:http';
import { request as httpsRequest } from 'node:https';
import { setTimeout } from 'node:timers/promises';
import { createDpopProof } from '@meshpass/identity/dpop';
import { isErrorCode, MeshpassError } from '@meshpass/identity/error';
import { TOKEN_VARIABLE } from '../command/shared-flags.ts';
import { readTextFile } from '../input/text-file.ts';
import { readOperatorSession } from '../login/session-file.ts';

export interface OperatorOptions {
  /** The operator listener: `http://127.0.0.1:9090` through a port-forward. For a job's token: `https://broker.example.com`. */
  readonly operator: string;
  /** File whose only line is the token; absent: MESHPASS_OPERATOR_TOKEN, else the session of meshpass login. */
  readonly operatorToken?: string;
  /** PEM of the broker's CA; absent: the system's. */
  readonly caFile?: string;
}

const PATIENCE_MS = 30_000;
/** Seconds to wait for a broker that started in the second of the proof, or whose clock is ahead: it has done nothing yet, and says to try again. */
const RESTART_TRIES = 3;
const MAX_ANSWER = 64 * 1024 * 1024;

type Method = 'GET' | 'POST' | 'DELETE';

export type OperatorCall = (method: Method, path: string, body?: unknown) => Promise<unknown>;

/** Answers with status 200, 202 or 204, whose body is still to be read. */
export type Send = (method: Method, path: string, body?: unknown) => Promise<IncomingMessage>;

/**
 * @param environment where the token is looked for when no file is named
 * @throws MeshpassError `usage` where there is no token or the URL is no origin; the call: what the broker answered,
 *   `confirmation_pending`, or `agent_broker_unreachable`
 */
export function operatorClient(options: OperatorOptions, environment: NodeJS.ProcessEnv): OperatorCall {
  const send = openOperator(options, environment, PATIENCE_MS);
  return async (method, path, body) => {
    const response = await send(method, path, body);
    if (response.statusCode === 204) {
      response.resume();
      return undefined;
    }
    const json = parse(
      await bounded(response, MAX_ANSWER).catch((cause) => Promise.reject(unreachable(options, cause))),
    );
    if (json === undefined) throw notABroker(response);
    if (response.statusCode === 202) throwIfPending(json);
    return json;
  };
}

/** @param patienceMs how long the broker may be silent. @throws MeshpassError as `operatorClient` */
export function openOperator(options: OperatorOptions, environment: NodeJS.ProcessEnv, patienceMs: number): Send {
  const authorize = authorization(options, environment);
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
    if (isErrorCode(answer?.error_code)) throw new MeshpassError(answer.error_code, String(answer.error_description));
    throw notABroker(response);
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

/** @throws MeshpassError `confirmation_pending` where it waits for a second person */
function throwIfPending({ confirmation }: Readonly<Record<string, unknown>>): void {
  const { id, expires_at: until } = (confirmation ?? {}) as { readonly id?: unknown; readonly expires_at?: unknown };
  if (typeof id !== 'string') return;
  throw new MeshpassError(
    'confirmation_pending',
    `Not done yet: another operator has to confirm it until ${until}: meshpass operators confirm ${id}`,
  );
}

export function unreachable({ operator }: OperatorOptions, cause: unknown): MeshpassError {
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

const DONE = new Set([200, 202, 204]);

/** The headers that say who calls: a token, or the session of who has signed in, with a proof for just this request. */
function authorization(
  { operator, operatorToken }: OperatorOptions,
  environment: NodeJS.ProcessEnv,
): (method: Method, url: URL) => Readonly<Record<string, string>> {
  const token = readToken(operatorToken, environment);
  if (token !== undefined) return () => ({ authorization: `Bearer ${token}` });
  const session = readOperatorSession(operator, environment);
  if (!session)
    throw new MeshpassError(
      'usage',
      `You are not signed in at ${operator}: run meshpass login. Where break-glass is on, --operator-token or ${TOKEN_VARIABLE} does, too.`,
    );
  const { broker, key, token: accessToken } = session;
  return (method, url) => {
    const now = Math.floor(Date.now() / 1000);
    const proof = { key, method, url: new URL(url.pathname, broker).href, now, jti: randomUUID(), accessToken };
    return { authorization: `DPoP ${accessToken}`, dpop: createDpopProof(proof) };
  };
}

function readToken(file: string | undefined, environment: NodeJS.ProcessEnv): string | undefined {
  const token = (file === undefined ? environment[TOKEN_VARIABLE] : readTextFile(file, '--operator-token'))?.trim();
  if (!token) return undefined;
  if (/^[\x21-\x7e]+$/.test(token)) return token;
  throw new MeshpassError('usage', `What is named as an operator token (--operator-token, ${TOKEN_VARIABLE}) is none.`);
}
