/**
 * Builds the responses to refused requests, which contain both OAuth 2.0 and Meshpass fields. Details and causes are
 * only logged.
 */
import type { ErrorCode, MeshpassError } from '@meshpass/identity';
import type { ErrorResponse } from '@meshpass/identity/wire';

/**
 * Creates the response for a refusal.
 * @param decisionId the id of the audit row, if there is one
 * @param atTokenEndpoint whether an invalid DPoP proof results in status 400, as at the token endpoint (RFC 9449
 *   section 5), rather than 401
 */
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
  // When a body is too long or too slow, the rest of it is never read, so the connection cannot be reused.
  if (status === 413 || status === 408) headers.connection = 'close';
  return new Response(JSON.stringify(body), { status, headers });
}

/** The errors for callers that authenticate with a bearer token rather than a session. */
const BEARERS: ReadonlySet<string> = new Set([
  'operator_unauthorized',
  'break_glass_off',
  'edge_unauthorized',
  'github_unauthorized',
]);

function challenge(oauth: string, error: MeshpassError): string {
  if (BEARERS.has(error.code)) return `Bearer error="${oauth}"`;
  // According to RFC 6750 section 3.1, the response to a request without credentials does not contain an error code.
  if (error.code === 'session_token_missing') return 'DPoP algs="ES256"';
  return `DPoP error="${oauth}", algs="ES256"`;
}

/** Maps an error code to an OAuth 2.0 error (RFC 6749 section 5.2, RFC 8693 section 2.2.2, RFC 9449, RFC 6750). */
function oauthError(error: MeshpassError): string {
  const known = EXACT[error.code];
  if (known) return known;
  if (error.code.startsWith('dpop_')) return 'invalid_dpop_proof';
  if (error.status === 503) return 'temporarily_unavailable';
  if (error.status >= 500) return 'server_error';
  // RFC 8693 specifies this error if the subject token is invalid for any reason, or is unacceptable based on policy.
  return 'invalid_request';
}

const EXACT: Partial<Record<ErrorCode, string>> = {
  grant_type_unsupported: 'unsupported_grant_type',
  audience_not_allowed: 'invalid_target',
  // Modeled on `use_dpop_nonce` in RFC 9449 section 8.
  presence_required: 'use_presence_challenge',
  session_token_missing: 'invalid_token',
  session_unknown: 'invalid_token',
  session_closed: 'invalid_token',
  operator_unauthorized: 'invalid_token',
  break_glass_off: 'invalid_token',
  edge_unauthorized: 'invalid_token',
  github_unauthorized: 'invalid_token',
};
