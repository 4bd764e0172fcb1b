/**
 * Sends HTTP requests to issuers and limits their duration and response size. Redirects are never followed, and a
 * failed request is never treated as an answer.
 */
import { MeshpassError, readBounded } from '@meshpass/identity';

/**
 * Allows issuers that do not use TLS. Only use this in the lab, because anyone on the network path can impersonate such
 * an issuer.
 */
export const labOnlyPlainHttpIssuers: unique symbol = Symbol('labOnlyPlainHttpIssuers');

export interface IssuerHttpOptions {
  readonly fetch: typeof fetch;
  /** The timeout for the whole request, including reading the response body, in milliseconds. */
  readonly timeoutMs: number;
  readonly [labOnlyPlainHttpIssuers]?: true;
}

export interface IssuerRequest {
  readonly method?: 'GET' | 'POST';
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string;
  /** The maximum response size in bytes. Defaults to 512 KiB. */
  readonly maxBytes?: number;
}

export interface IssuerResponse {
  readonly status: number;
  readonly headers: Headers;
  /** The parsed JSON body, or undefined if the response has no body. */
  readonly body: unknown;
}

/**
 * The default response size limit. It is far larger than any expected document: a large issuer's key set is about 20
 * kB, and a Codespace about 10 kB.
 */
const MAX_BYTES = 512 * 1024;

/**
 * Sends a request to an issuer.
 * @param who the issuer's name, for error messages
 * @throws MeshpassError `issuer_unavailable` if the request fails or times out, or if the response is too large, is a
 *   redirect or is not JSON
 */
export async function requestIssuer(
  url: URL,
  question: IssuerRequest,
  who: string,
  options: IssuerHttpOptions,
): Promise<IssuerResponse> {
  if (url.protocol !== 'https:' && !(url.protocol === 'http:' && options[labOnlyPlainHttpIssuers])) {
    throw issuerUnavailableError(who, 'not HTTPS', { url: url.origin });
  }
  try {
    const response = await options.fetch(url, {
      method: question.method ?? 'GET',
      headers: { accept: 'application/json', 'user-agent': 'meshpass', ...question.headers },
      ...(question.body === undefined ? {} : { body: question.body }),
      // Following a redirect would send the proof to a host that was not configured.
      redirect: 'manual',
      signal: AbortSignal.timeout(options.timeoutMs),
    });
    const text = response.body
      ? (await readBounded(response.body, question.maxBytes ?? MAX_BYTES)).toString('utf8')
      : '';
    const isUnchanged = response.status === 304 && question.headers?.['if-none-match'] !== undefined;
    if (response.status >= 300 && response.status < 400 && !isUnchanged) {
      throw issuerUnavailableError(who, 'redirected', { status: response.status, path: url.pathname });
    }
    return { status: response.status, headers: response.headers, body: parse(text, response.ok) };
  } catch (cause) {
    if (cause instanceof MeshpassError) throw cause;
    throw issuerUnavailableError(who, 'no response', { url: url.origin + url.pathname }, cause);
  }
}

/** Builds the error for an issuer that cannot be reached. Access is not granted, but the client may retry. */
export function issuerUnavailableError(
  who: string,
  reason: string,
  detail: Readonly<Record<string, unknown>> = {},
  cause?: unknown,
): MeshpassError {
  return new MeshpassError('issuer_unavailable', `${who} is unavailable, so access was not granted. Try again.`, {
    detail: { reason, ...detail },
    retryAfter: 5,
    ...(cause === undefined ? {} : { cause }),
  });
}

/** Parses a response body. Error responses do not have to be JSON. */
function parse(text: string, ok: boolean): unknown {
  if (!text) return undefined;
  try {
    return JSON.parse(text);
  } catch (error) {
    if (ok) throw error;
    return undefined;
  }
}
