/**
 * Sends HTTPS requests to an identity provider. The requests are limited in time and size, and do not follow redirects.
 */
import { request } from 'node:https';
import { getCACertificates } from 'node:tls';
import { MeshpassError, parseJson } from '@meshpass/identity';
import { sendAndRead } from '../http.ts';

export interface IssuerHttpResponse {
  readonly status: number;
  /** The parsed body of the response. Undefined if the body is not JSON. */
  readonly json: unknown;
}

/** @throws MeshpassError agent_sign_in_failed if no response was received */
export type IssuerRequester = (url: string, form?: Readonly<Record<string, string>>) => Promise<IssuerHttpResponse>;

const MAX_ANSWER = 262_144;
const PATIENCE_MS = 10_000;

/**
 * Creates the function that sends requests to identity providers.
 * @param extraCa root certificates to trust in addition to the system's, as PEM
 */
export function createIssuerRequester(extraCa: string | undefined): IssuerRequester {
  const ca = extraCa === undefined ? undefined : [...getCACertificates('default'), extraCa];
  return async (url, form) => {
    const outgoing = request(url, {
      method: form === undefined ? 'GET' : 'POST',
      headers: {
        accept: 'application/json',
        'user-agent': 'meshpass',
        ...(form && { 'content-type': 'application/x-www-form-urlencoded' }),
      },
      signal: AbortSignal.timeout(PATIENCE_MS),
      ...(ca && { ca }),
    });
    try {
      const { status, text } = await sendAndRead(outgoing, MAX_ANSWER, form && new URLSearchParams(form).toString());
      return { status, json: parseJson(text) };
    } catch (cause) {
      const why = (cause as NodeJS.ErrnoException).code ?? (cause as Error).message;
      throw signInFailedError(`${new URL(url).origin} did not respond: ${why}`, cause);
    }
  };
}

/** Creates the error for a failed sign-in. */
export function signInFailedError(why: string, cause?: unknown): MeshpassError {
  return new MeshpassError('agent_sign_in_failed', `The sign-in failed: ${why}.`, { cause });
}
