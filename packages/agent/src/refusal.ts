/** What a developer reads when a request cannot be carried: what happened, and what to do next. */

import { MeshpassError } from '@meshpass/identity/error';
import type { ReachableService } from '@meshpass/identity/wire';
import { STATUS_CODES } from './status-codes.ts';

export interface RefusalContext {
  /** Accept header of the request; JSON is answered where it asks for JSON. */
  readonly accept?: string | undefined;
  readonly sessionId?: string | undefined;
  /** The connection ends after the refusal. */
  readonly close: boolean;
}

/** A complete HTTP/1.1 response for an error. */
export function renderRefusal(error: MeshpassError, context: RefusalContext): Buffer {
  const json = context.accept !== undefined && /\bapplication\/(?:[a-z0-9.]+\+)?json\b/i.test(context.accept);
  const body = Buffer.from(
    json
      ? `${JSON.stringify({ error_code: error.code, error_description: error.message, session_id: context.sessionId })}\n`
      : `meshpass: ${error.message}\n`,
  );
  const head =
    `HTTP/1.1 ${error.status} ${STATUS_CODES[error.status] ?? 'Refused'}\r\n` +
    `content-type: ${json ? 'application/json' : 'text/plain; charset=utf-8'}\r\n` +
    `content-length: ${body.length}\r\nx-meshpass-code: ${error.code}\r\n` +
    (error.code === 'agent_proxy_unauthorized' ? 'proxy-authenticate: Basic realm="meshpass"\r\n' : '') +
    (error.retryAfter === undefined ? '' : `retry-after: ${error.retryAfter}\r\n`) +
    (context.close ? 'connection: close\r\n\r\n' : '\r\n');
  return Buffer.concat([Buffer.from(head, 'latin1'), body]);
}

/** The refusal of a sidecar's policy, told so that the developer can act on it. */
export function policyRefusal(
  method: string,
  path: string,
  service: ReachableService,
  sessionId: string,
): MeshpassError {
  const allowed = service.allow?.length ? service.allow.join(', ') : 'the whole port';
  return new MeshpassError(
    'agent_policy_refused',
    `${method} ${path} refused by policy at ${shortName(service)}: your grant ${service.grant} allows ${allowed} ` +
      `(session ${sessionId}, give it to your platform team: it names you and your grants in the audit log)`,
  );
}

/** The refusal of a service of the mesh that no grant names. */
export function notGranted(authority: string, services: readonly ReachableService[]): MeshpassError {
  const reachable = services.map((service) => `${shortName(service)}:${service.port}`);
  return new MeshpassError(
    'agent_service_unknown',
    reachable.length === 0
      ? `${authority} is not granted to you, and neither is any other service now; ask your platform team for a grant.`
      : `${authority} is not granted to you; you may reach ${reachable.slice(0, 20).join(', ')}` +
          (reachable.length > 20 ? ` and ${reachable.length - 20} more (meshpass status)` : ''),
  );
}

/** A connection that ended where an answer was due. */
export function closedUnanswered(): MeshpassError {
  return new MeshpassError(
    'agent_edge_unreachable',
    'The mesh closed the connection before it answered. Your access may have just ended, or the service restarted: ' +
      'meshpass status tells which.',
  );
}

/** The shortest name of a service. */
export function shortName(service: ReachableService): string {
  return service.aliases.reduce((short, alias) => (alias.length < short.length ? alias : short), service.host);
}

/** What Envoy's RBAC filter answers. */
export const POLICY_BODY = 'RBAC: access denied';
const POLICY_LENGTH = /\r\ncontent-length:[\t ]*19[\t ]*\r\n/i;

/**
 * Whether a chunk at the start of a response is Envoy's RBAC refusal, whole.
 * @returns 'part' when it may become one with more bytes
 */
export function isPolicyRefusal(chunk: Buffer): boolean | 'part' {
  // "HTTP/1.1 403": three bytes decide for nearly every response.
  if (chunk.length < 12) return 'HTTP/1.1 403'.startsWith(chunk.toString('latin1', 0, chunk.length)) ? 'part' : false;
  if (chunk[9] !== 0x34 || chunk[10] !== 0x30 || chunk[11] !== 0x33) return false;
  const text = chunk.toString('latin1', 0, Math.min(chunk.length, 4096));
  const end = text.indexOf('\r\n\r\n');
  if (end < 0) return chunk.length < 4096 ? 'part' : false;
  if (!text.startsWith('HTTP/1.1 403') || !POLICY_LENGTH.test(text.slice(0, end + 2))) return false;
  const body = text.slice(end + 4);
  if (body === POLICY_BODY) return true;
  return body.length < POLICY_BODY.length && POLICY_BODY.startsWith(body) ? 'part' : false;
}
