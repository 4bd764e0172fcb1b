/**
 * Formats refusals for the client. Before the 200 response, a refusal is an HTTP response with the JSON body described
 * in docs/interfaces/protocol.md. After that, it is a TLS alert.
 */
import { MeshpassError } from '@meshpass/identity';
import { CONTROL_ALPN, formatFrame } from '@meshpass/identity/channel';
import type { ConnectDestination } from './connect.ts';

/** TLS records with fatal alerts (RFC 8446 section 6), which end the inner handshake. */
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
 * Formats a refusal for the protocol that the client uses.
 * @param decisionId the ID of the refusal in the audit log
 * @param alpn the protocol that the client requested. A client that requested a control connection receives a frame
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
    // The fields of the body are repeated as headers, because an Envoy that opens the tunnel discards the body but can
    // log headers.
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
 * Creates the error for a target that the edge cannot reach.
 * @param why the Node.js error code or a phrase, which is included in the error's detail
 */
export function gatewayUnreachableError(why: string, destination?: ConnectDestination): MeshpassError {
  const message = `The edge cannot reach ${upstreamName(destination)}. Try again shortly.`;
  return new MeshpassError('tunnel_gateway_unreachable', message, { detail: { why }, retryAfter: 1 });
}

/** Returns the display name of the upstream that the edge connects to. */
export function upstreamName(destination: ConnectDestination | undefined): string {
  return destination?.isKubernetes ? 'the Kubernetes API server' : 'the mesh gateway';
}
