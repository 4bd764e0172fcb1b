/** What a refused client reads: before the 200 an HTTP answer with the JSON body of docs/protocol.md, after it a TLS alert. */
import { MeshpassError } from '@meshpass/identity';
import { CONTROL_ALPN, formatFrame } from '@meshpass/identity/channel/frames';
import type { Destination } from './connect.ts';

/** Fatal TLS alerts (RFC 8446 section 6): the record that ends the inner handshake. */
export const ALERT = {
  unrecognizedName: Buffer.from([21, 3, 3, 0, 2, 2, 112]),
  decodeError: Buffer.from([21, 3, 3, 0, 2, 2, 50]),
} as const;

export const ESTABLISHED = Buffer.from('HTTP/1.1 200 OK\r\n\r\n');

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
 * @param decisionId finds the refusal in the audit log
 * @param alpn what the client asked for: one that wanted a control connection reads a frame
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
    // The body's members again: an Envoy that opens the tunnel drops the body, and can log headers.
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

export function malformed(message: string): MeshpassError {
  return new MeshpassError('tunnel_request_malformed', message);
}

/** @param why for the detail: an error code of Node.js, or a phrase */
export function gatewayUnreachable(why: string, destination?: Destination): MeshpassError {
  const message = `The edge cannot reach ${upstreamName(destination)}: try again shortly.`;
  return new MeshpassError('tunnel_gateway_unreachable', message, { detail: { why }, retryAfter: 1 });
}

/** What is behind the edge, for messages. */
export function upstreamName(destination: Destination | undefined): string {
  return destination?.isKubernetes ? 'the API server of Kubernetes' : 'the mesh gateway';
}
