/**
 * Refusals as sent to the client: before the 200, an HTTP response with the JSON body from docs/interfaces/protocol.md,
 * and after it a TLS alert.
 */
import { MeshpassError } from '@meshpass/identity';
import { CONTROL_ALPN, formatFrame } from '@meshpass/identity/channel/frames';
import type { ConnectDestination } from './connect.ts';

/** Fatal TLS alerts (RFC 8446 section 6), the records that end the inner handshake. */
export const TLS_ALERTS = {
  unrecognizedName: Buffer.from([21, 3, 3, 0, 2, 2, 112]),
  decodeError: Buffer.from([21, 3, 3, 0, 2, 2, 50]),
} as const;

export const CONNECT_ESTABLISHED = Buffer.from('HTTP/1.1 200 OK\r\n\r\n');

const PHRASES: Readonly<Record<number, string>> = {
  400: 'Bad Request',
  401: 'Unauthorized',
  403: 'Forbidden',
  408: 'Request Timeout',
  429: 'Too Many Requests',
  502: 'Bad Gateway',
  503: 'Service Unavailable',
};

/**
 * Formats a refusal.
 * @param decisionId identifies the refusal in the audit log
 * @param alpn requested protocol. A client that requested a control connection receives a frame
 */
export function formatRefusal(error: MeshpassError, decisionId: string, alpn: string | false | null): string {
  if (alpn === CONTROL_ALPN) return formatFrame({ type: 'refused', error_code: error.code, decision_id: decisionId });
  const body = JSON.stringify({
    error: oauthCode(error.status),
    error_description: error.message,
    error_code: error.code,
    decision_id: decisionId,
  });
  return [
    `HTTP/1.1 ${error.status} ${PHRASES[error.status] ?? 'Error'}`,
    'Content-Type: application/json',
    `Content-Length: ${Buffer.byteLength(body)}`,
    'Cache-Control: no-store',
    'Connection: close',
    // Repeats the body's fields as headers. An Envoy that opens the tunnel drops the body but can log headers.
    `Meshpass-Error-Code: ${error.code}`,
    `Meshpass-Decision-Id: ${decisionId}`,
    ...(error.retryAfter === undefined ? [] : [`Retry-After: ${error.retryAfter}`]),
    '',
    body,
  ].join('\r\n');
}

function oauthCode(status: number): string {
  if (status === 401 || status === 403) return 'access_denied';
  return status === 400 || status === 408 ? 'invalid_request' : 'temporarily_unavailable';
}

/** Creates the error for a request that the edge cannot parse. */
export function malformedError(message: string): MeshpassError {
  return new MeshpassError('tunnel_request_malformed', message);
}

/**
 * Creates the error for an unreachable target.
 * @param why for the detail: a Node.js error code or a phrase
 */
export function gatewayUnreachableError(why: string, destination?: ConnectDestination): MeshpassError {
  const message = `The edge cannot reach ${upstreamName(destination)}. Try again shortly.`;
  return new MeshpassError('tunnel_gateway_unreachable', message, { detail: { why }, retryAfter: 1 });
}

/** Display name of the target behind the edge. */
export function upstreamName(destination: ConnectDestination | undefined): string {
  return destination?.isKubernetes ? 'the Kubernetes API server' : 'the mesh gateway';
}
