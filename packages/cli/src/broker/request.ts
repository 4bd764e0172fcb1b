/** Sends an HTTP request and reads the whole response, regardless of its status. */
import { request as requestPlain } from 'node:http';
import { request as requestTls } from 'node:https';
import { sendAndRead } from '@meshpass/agent/http';
import { isErrorCode, MeshpassError, parseJson, plainText, tlsFailure } from '@meshpass/identity';

export interface Answer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  readonly text: string;
  readonly json: unknown;
}

export interface BrokerRequest {
  readonly method: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string;
  /** The CA certificates in PEM format. Defaults to Node's built-in roots. */
  readonly ca?: string | undefined;
  /** The name that the server's certificate must contain. Defaults to the host in the URL. */
  readonly servername?: string;
}

const PATIENCE_MS = 20_000;
const MAX_ANSWER = 8 * 1024 * 1024;

/**
 * Sends a request and waits for the complete response.
 * @throws the connection error, or an Error if the response is not complete within 20 seconds
 */
export async function ask(url: string, { method, headers, body, ca, servername }: BrokerRequest): Promise<Answer> {
  const request = url.startsWith('http://') ? requestPlain : requestTls;
  const stop = new AbortController();
  // This timeout covers the whole response. An idle timeout would never fire if the server kept sending single bytes.
  const late = setTimeout(() => stop.abort(new Error(`no reply from ${url} in ${PATIENCE_MS / 1000} s`)), PATIENCE_MS);
  const more = { ...(ca !== undefined && { ca }), ...(servername !== undefined && { servername }) };
  try {
    const sent = request(url, { method, headers: { ...headers }, signal: stop.signal, ...more });
    const answer = await sendAndRead(sent, MAX_ANSWER, body);
    return { ...answer, json: parseJson(answer.text) };
  } catch (thrown) {
    stop.signal.throwIfAborted();
    throw thrown;
  } finally {
    clearTimeout(late);
  }
}

/**
 * Parses the value of the `--broker` flag.
 * @returns the URL without a trailing slash
 * @throws MeshpassError `usage`
 */
export function parseBrokerUrl(text: string): string {
  if (text.startsWith('https://') && URL.canParse(text)) return new URL(text).href.replace(/\/+$/, '');
  throw new MeshpassError('usage', `--broker must be an https:// URL, not ${text}.`);
}

/**
 * Sends a GET request to a broker.
 * @param base the broker's public URL, without a trailing slash
 * @param hint a sentence to append to the error message
 * @throws MeshpassError `agent_broker_unreachable`
 */
export async function fetchFromBroker(base: string, path: string, ca: string | undefined, hint = ''): Promise<Answer> {
  return await ask(base + path, { method: 'GET', ca }).catch((cause: NodeJS.ErrnoException) => {
    const why = tlsFailure(cause)?.what ?? cause.code ?? cause.message;
    const message = `Cannot reach the broker at ${base} (${why}).${hint}`;
    throw new MeshpassError('agent_broker_unreachable', message, { cause });
  });
}

/** Builds the error to throw if the response was not sent by a broker. */
export function notBrokerError(base: string, { status }: Answer): MeshpassError {
  return new MeshpassError('agent_broker_unreachable', `The server at ${base} is not a broker (status ${status}).`);
}

/**
 * Parses an error response from a broker.
 * @param answer the JSON body of a response
 * @returns the error, with its text made safe for a terminal, or undefined if the response is not a broker error
 */
export function parseRefusal(answer: unknown): MeshpassError | undefined {
  const { error_code: code, error_description: said } = (answer ?? {}) as Readonly<Record<string, unknown>>;
  if (!isErrorCode(code)) return undefined;
  return new MeshpassError(code, String(said).split('\n').map(plainText).join('\n'));
}
