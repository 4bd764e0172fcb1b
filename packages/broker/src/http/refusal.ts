/** A refusal on the wire: OAuth 2.0's members and ours. Details and causes stay in the log. */
import type { ErrorResponse, MeshpassError } from '@meshpass/identity';
import { oauthError } from './oauth-error.ts';

/** @param atTokenEndpoint RFC 9449 section 5: a bad DPoP proof at the token endpoint is answered 400, elsewhere 401 */
export function refusal(error: MeshpassError, decisionId: string | undefined, atTokenEndpoint = false): Response {
  const oauth = oauthError(error);
  const body: ErrorResponse = {
    error: oauth,
    error_description: error.message,
    error_code: error.code,
    ...(decisionId === undefined ? {} : { decision_id: decisionId }),
    ...error.members,
  };
  const status = atTokenEndpoint && oauth === 'invalid_dpop_proof' ? 400 : error.status;
  const headers: Record<string, string> = { 'content-type': 'application/json', 'cache-control': 'no-store' };
  if (status === 401) headers['www-authenticate'] = challenge(oauth, error);
  if (error.retryAfter !== undefined) headers['retry-after'] = String(Math.ceil(error.retryAfter));
  else if (status === 503) headers['retry-after'] = '2';
  // What is left of a body that is too long or too slow is not read; the connection cannot go on.
  if (status === 413 || status === 408) headers.connection = 'close';
  return new Response(JSON.stringify(body), { status, headers });
}

/** Whoever is no session has a token without a key of its own. */
const BEARERS: ReadonlySet<string> = new Set(['operator_unauthorized', 'edge_unauthorized', 'github_unauthorized']);

function challenge(oauth: string, error: MeshpassError): string {
  if (BEARERS.has(error.code)) return `Bearer error="${oauth}"`;
  // RFC 6750 section 3.1: a request without credentials is told no error.
  if (error.code === 'session_token_missing') return 'DPoP algs="ES256"';
  return `DPoP error="${oauth}", algs="ES256"`;
}
