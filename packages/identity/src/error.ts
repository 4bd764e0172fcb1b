/**
 * The only error type in Meshpass. Its code is stable. Its message is written for the person who sees it and says what
 * to do next. Information for operators belongs in `detail` and `cause`, which are logged but never sent over the wire.
 */

/**
 * The HTTP status of every error code. Codes are never renamed. Each of them is explained in docs/troubleshooting.md.
 */
const STATUS = {
  // Proofs (RFC 8693 section 2.2.2: invalid_request)
  proof_malformed: 400,
  proof_too_large: 413,
  proof_type_unsupported: 400,
  proof_algorithm: 400,
  proof_issuer_unknown: 400,
  proof_key_unknown: 400,
  proof_signature: 400,
  proof_audience: 400,
  proof_expired: 400,
  proof_not_yet_valid: 400,
  proof_replayed: 400,
  proof_rejected: 400,
  proof_prebuild: 400,
  proof_unprintable: 400,
  proof_token_kind: 400,
  // Workspaces, as reported by the issuer
  workspace_unknown: 400,
  workspace_not_owned: 400,
  workspace_not_available: 400,
  workspace_not_trusted: 400,
  workspace_repository_unreachable: 400,
  // Presence of a Codespace
  presence_required: 400,
  presence_challenge_unknown: 400,
  presence_unanswered: 400,
  presence_mismatch: 400,
  presence_unreachable: 503,
  // Issuers that are unavailable. These codes never result in a grant.
  issuer_unavailable: 503,
  issuer_rate_limited: 503,
  // Authorization
  access_none: 403,
  grant_unknown: 403,
  // Approvals
  approval_not_offered: 403,
  approval_unknown: 404,
  approval_open: 409,
  approvals_too_many: 429,
  approval_own: 403,
  approval_not_comparable: 403,
  approval_forbidden: 403,
  approval_answered: 409,
  approval_webhook_unauthorized: 401,
  emergency_not_offered: 403,
  emergency_barred: 403,
  emergency_too_many: 429,
  // Sign-ins that are required in addition to the proof
  sign_in_required: 403,
  sign_in_unknown: 404,
  sign_in_foreign: 400,
  sign_in_stale: 400,
  sign_in_rejected: 400,
  sign_in_ended: 409,
  logout_token_invalid: 400,
  // RFC 8693 section 2.2.2 requires invalid_target with status 400.
  audience_not_allowed: 400,
  kubernetes_not_granted: 403,
  kubernetes_off: 403,
  // DPoP (RFC 9449)
  dpop_missing: 401,
  dpop_malformed: 401,
  dpop_signature: 401,
  dpop_mismatch: 401,
  dpop_key_mismatch: 401,
  dpop_expired: 401,
  dpop_replayed: 401,
  // Sessions
  session_token_missing: 401,
  session_unknown: 401,
  session_closed: 401,
  // Certificate requests
  csr_malformed: 400,
  csr_too_large: 413,
  csr_signature: 400,
  csr_weak_key: 400,
  // HTTP
  request_malformed: 400,
  grant_type_unsupported: 400,
  request_too_large: 413,
  request_timeout: 408,
  not_found: 404,
  operator_unauthorized: 401,
  break_glass_off: 401,
  operator_session_ended: 401,
  operator_unconfirmed: 401,
  operator_no_role: 403,
  operator_forbidden: 403,
  operator_reason_required: 400,
  operator_form_forged: 403,
  too_many_attempts: 429,
  edge_unauthorized: 401,
  github_unauthorized: 401,
  // Dependencies of the broker
  store_unavailable: 503,
  store_newer: 409,
  store_older: 409,
  ca_unavailable: 503,
  kubernetes_unavailable: 503,
  configuration_unavailable: 503,
  overloaded: 503,
  audit_tampered: 409,
  audit_log_behind: 409,
  audit_checkpoint_missing: 409,
  audit_checkpoint_invalid: 409,
  audit_retained: 403,
  internal: 500,
  // Edge
  tunnel_certificate_missing: 401,
  tunnel_certificate_untrusted: 401,
  tunnel_session_unknown: 403,
  tunnel_request_malformed: 400,
  tunnel_target_not_granted: 403,
  tunnel_sni_mismatch: 403,
  tunnel_handshake_timeout: 408,
  tunnel_idle: 408,
  tunnel_limit: 429,
  tunnel_gateway_unreachable: 502,
  tunnel_kubernetes_off: 403,
  tunnel_directory_stale: 503,
  // Access file
  access_file_syntax: 400,
  access_file_unknown_key: 400,
  access_file_invalid: 400,
  access_file_pattern_unanchored: 400,
  access_file_who_empty: 400,
  access_file_expression: 400,
  access_service_unknown: 400,
  access_port_unknown: 400,
  access_port_undeclared: 400,
  access_role_unknown: 400,
  access_role_powers: 400,
  // Kubernetes and Istio manifests
  manifest_syntax: 400,
  manifest_too_large: 413,
  manifest_invalid: 400,
  manifest_unknown_field: 400,
  // Policy comparison, tests and plans
  policy_too_large: 413,
  policy_cases_invalid: 400,
  policy_test_failed: 409,
  patch_refused: 409,
  plan_refused: 409,
  plan_stale: 409,
  plan_unknown: 404,
  plan_unauthorized: 403,
  policy_forbidden: 409,
  policy_drift: 503,
  // Agent
  agent_no_identity: 400,
  agent_prebuild: 400,
  agent_not_running: 409,
  agent_already_running: 409,
  agent_hosts_unwritable: 403,
  agent_proxy_unauthorized: 407,
  agent_foreign_host: 421,
  agent_service_unknown: 403,
  agent_broker_unreachable: 502,
  agent_broker_answer_invalid: 502,
  agent_edge_unreachable: 502,
  agent_direct_unreachable: 502,
  agent_policy_refused: 403,
  agent_route_not_granted: 403,
  agent_route_unsupported: 502,
  agent_credentials_expired: 503,
  agent_envoy_missing: 409,
  agent_sign_in_refused: 403,
  agent_sign_in_failed: 502,
  // Command line and configuration
  usage: 400,
  config_invalid: 400,
  drill_proves_nothing: 409,
  evidence_invalid: 400,
} as const;

export type ErrorCode = keyof typeof STATUS;

export interface MeshpassErrorOptions {
  readonly cause?: unknown;
  /** Context for the log. It must never contain a token, a key or a complete proof, and is not sent to clients. */
  readonly detail?: Readonly<Record<string, unknown>>;
  /** How long the client should wait before it retries, in seconds (Retry-After). */
  readonly retryAfter?: number;
  /**
   * Additional fields of the error response that the client needs for its next step. They must never contain secrets.
   */
  readonly members?: Readonly<Record<string, unknown>>;
}

export class MeshpassError extends Error {
  override readonly name = 'MeshpassError';
  readonly code: ErrorCode;
  readonly detail: Readonly<Record<string, unknown>>;
  readonly retryAfter: number | undefined;
  readonly members: Readonly<Record<string, unknown>>;

  /**
   * Creates an error.
   * @param code the stable error code (see docs/troubleshooting.md)
   * @param message the problem and the next step, for the person who sees it. It must be safe to send over the wire
   */
  constructor(code: ErrorCode, message: string, options: MeshpassErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.code = code;
    this.detail = options.detail ?? {};
    this.retryAfter = options.retryAfter;
    this.members = options.members ?? {};
  }

  /** The HTTP status of this error. */
  get status(): number {
    return STATUS[this.code];
  }

  /** Whether the same request may succeed if it is sent again later. */
  get retryable(): boolean {
    return this.status === 503 || this.status === 502 || this.status === 408 || this.status === 429;
  }
}

/** Whether a string is a Meshpass error code. Use this for errors that were received over the wire. */
export function isErrorCode(text: unknown): text is ErrorCode {
  return typeof text === 'string' && Object.hasOwn(STATUS, text);
}

/** All error codes, for documentation and tests. */
export const ERROR_CODES = Object.keys(STATUS) as readonly ErrorCode[];

/** Wraps any thrown value in a MeshpassError. If it already is a MeshpassError, it is returned unchanged. */
export function toMeshpassError(thrown: unknown, code: ErrorCode = 'internal', message?: string): MeshpassError {
  if (thrown instanceof MeshpassError) return thrown;
  return new MeshpassError(code, message ?? "An internal error occurred. The broker's log has the cause.", {
    cause: thrown,
  });
}

/**
 * Explains why a file cannot be read, for example with `it does not exist`.
 * @param cause the error thrown by Node.js
 */
export function describeFileError(cause: unknown): string {
  const { code, message } = cause as NodeJS.ErrnoException;
  return FILE_PROBLEMS[code ?? ''] ?? code ?? message;
}

const FILE_PROBLEMS: Readonly<Record<string, string>> = {
  ENOENT: 'it does not exist',
  ENOTDIR: 'a part of its path is not a directory',
  EACCES: 'permission denied',
  EPERM: 'permission denied',
  EISDIR: 'it is a directory',
  ELOOP: 'its symbolic links form a loop',
};
