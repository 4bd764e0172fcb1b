/**
 * Requests the ID token of a GitHub Actions job (see "Requesting the JWT" in the "OpenID Connect reference" on
 * docs.github.com).
 */
import { request } from 'node:https';
import { MeshpassError } from '@meshpass/identity';
import { sendAndRead } from '../http.ts';

/** The timeout for receiving the complete response, in milliseconds. */
const TIMEOUT = 10_000;
/** The maximum size of the response, in bytes. */
const LARGEST = 65_536;

/**
 * Requests the token without `fetch`, which would need 7 MB of memory, and WebAssembly, which is disabled in the agent
 * process.
 * @param requestUrl the job's ACTIONS_ID_TOKEN_REQUEST_URL
 * @param requestToken the job's ACTIONS_ID_TOKEN_REQUEST_TOKEN
 * @throws MeshpassError `issuer_unavailable`
 */
export async function requestActionsToken(requestUrl: string, requestToken: string, audience: string): Promise<string> {
  const headers = { authorization: `Bearer ${requestToken}`, accept: 'application/json' };
  try {
    const url = new URL(requestUrl);
    url.searchParams.set('audience', audience);
    const outgoing = request(url, { headers, signal: AbortSignal.timeout(TIMEOUT), agent: false });
    const { status, text } = await sendAndRead(outgoing, LARGEST);
    if (status !== 200) throw new Error(`status ${status}`);
    const { value } = JSON.parse(text) as { value?: unknown };
    if (typeof value === 'string') return value;
    throw new Error('the response contains no ID token');
  } catch (cause) {
    throw new MeshpassError(
      'issuer_unavailable',
      'GitHub Actions did not issue an ID token for this job. Check that it has id-token: write, and try again.',
      { cause },
    );
  }
}
