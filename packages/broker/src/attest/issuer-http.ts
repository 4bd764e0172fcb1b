/** Asks an issuer over HTTP: bounded in time and size, never redirected, and never mistaken for an answer. */
import { MeshpassError } from '@meshpass/identity';

/** For the lab alone: without TLS anyone on the way can be the issuer. */
export const plainHttpIssuersOnlyInALab: unique symbol = Symbol('plainHttpIssuersOnlyInALab');

export interface IssuerHttpOptions {
  readonly fetch: typeof fetch;
  /** Bound of one call from start to the last byte, milliseconds. */
  readonly timeoutMs: number;
  readonly [plainHttpIssuersOnlyInALab]?: true;
}

export interface IssuerRequest {
  readonly method?: 'GET' | 'POST';
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string;
  /** The most that an answer may have, bytes. Default: 512 KiB. */
  readonly maxBytes?: number;
}

export interface IssuerResponse {
  readonly status: number;
  readonly headers: Headers;
  /** Parsed JSON; undefined where there is no body. */
  readonly body: unknown;
}

/** No document that we ask for comes near it: keys of a large issuer are 20 kB, a Codespace 10 kB. */
const MAX_BYTES = 512 * 1024;

/**
 * @param who names the issuer in messages for people
 * @throws MeshpassError `issuer_unavailable`: no connection, too late, too large, redirected, not JSON
 */
export async function requestIssuer(
  url: URL,
  question: IssuerRequest,
  who: string,
  options: IssuerHttpOptions,
): Promise<IssuerResponse> {
  if (url.protocol !== 'https:' && !(url.protocol === 'http:' && options[plainHttpIssuersOnlyInALab])) {
    throw unavailable(who, 'not https', { url: url.origin });
  }
  try {
    const response = await options.fetch(url, {
      method: question.method ?? 'GET',
      headers: { accept: 'application/json', 'user-agent': 'meshpass', ...question.headers },
      ...(question.body === undefined ? {} : { body: question.body }),
      // A redirect would carry the proof to a place that nobody has configured.
      redirect: 'manual',
      signal: AbortSignal.timeout(options.timeoutMs),
    });
    const text = await readBounded(response, question.maxBytes ?? MAX_BYTES);
    const isUnchanged = response.status === 304 && question.headers?.['if-none-match'] !== undefined;
    if (response.status >= 300 && response.status < 400 && !isUnchanged) {
      throw unavailable(who, 'redirected', { status: response.status, path: url.pathname });
    }
    return { status: response.status, headers: response.headers, body: parse(text, response.ok) };
  } catch (cause) {
    if (cause instanceof MeshpassError) throw cause;
    throw unavailable(who, 'no answer', { url: url.origin + url.pathname }, cause);
  }
}

/** The refusal while an issuer cannot be asked: never a grant, worth a retry. */
export function unavailable(
  who: string,
  reason: string,
  detail: Readonly<Record<string, unknown>> = {},
  cause?: unknown,
): MeshpassError {
  return new MeshpassError('issuer_unavailable', `${who} is not reachable, so nothing is granted; try again.`, {
    detail: { reason, ...detail },
    retryAfter: 5,
    ...(cause === undefined ? {} : { cause }),
  });
}

async function readBounded(response: Response, maxBytes: number): Promise<string> {
  const chunks: Uint8Array[] = [];
  let size = 0;
  for await (const chunk of response.body ?? []) {
    size += chunk.byteLength;
    // Leaving the loop cancels the body.
    if (size > maxBytes) throw new Error(`more than ${maxBytes} bytes`);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString('utf8');
}

/** What an error says is welcome, but an error needs no body; an answer does. */
function parse(text: string, ok: boolean): unknown {
  if (!text) return undefined;
  try {
    return JSON.parse(text);
  } catch (error) {
    if (ok) throw error;
    return undefined;
  }
}
