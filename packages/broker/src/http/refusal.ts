/** A refusal on the wire: OAuth 2.0's members and ours. Details and causes stay in the log. */
import type { ErrorCode, ErrorResponse, MeshpassError } from '@meshpass/identity';

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
const BEARERS: ReadonlySet<string> = new Set([
  'operator_unauthorized',
  'break_glass_off',
  'edge_unauthorized',
  'github_unauthorized',
]);

function challenge(oauth: string, error: MeshpassError): string {
  if (BEARERS.has(error.code)) return `Bearer error="${oauth}"`;
  // RFC 6750 section 3.1: a request without credentials is told no error.
  if (error.code === 'session_token_missing') return 'DPoP algs="ES256"';
  return `DPoP error="${oauth}", algs="ES256"`;
}

/** The OAuth 2.0 error code for one of ours (RFC 6749 section 5.2, RFC 8693 section 2.2.2, RFC 9449, RFC 6750). */
function oauthError(error: MeshpassError): string {
  const known = EXACT[error.code];
  if (known) return known;
  if (error.code.startsWith('dpop_')) return 'invalid_dpop_proof';
  if (error.status === 503) return 'temporarily_unavailable';
  if (error.status >= 500) return 'server_error';
  // RFC 8693: a subject token that is invalid for any reason, or unacceptable based on policy.
  return 'invalid_request';
}

const EXACT: Partial<Record<ErrorCode, string>> = {
  grant_type_unsupported: 'unsupported_grant_type',
  audience_not_allowed: 'invalid_target',
  // In the manner of RFC 9449 section 8 (`use_dpop_nonce`).
  presence_required: 'use_presence_challenge',
  session_token_missing: 'invalid_token',
  session_unknown: 'invalid_token',
  session_closed: 'invalid_token',
  operator_unauthorized: 'invalid_token',
  break_glass_off: 'invalid_token',
  edge_unauthorized: 'invalid_token',
  github_unauthorized: 'invalid_token',
};
