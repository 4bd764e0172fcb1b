/** Which OAuth 2.0 error code says what ours says (RFC 6749 section 5.2, RFC 8693 section 2.2.2, RFC 9449, RFC 6750). */
import type { ErrorCode, MeshpassError } from '@meshpass/identity';

export function oauthError(error: MeshpassError): string {
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
  edge_unauthorized: 'invalid_token',
  github_unauthorized: 'invalid_token',
};
