/** Calls a service in the mesh with the given credentials, either through the edge or from inside the cluster. */
import type { Verdict } from './attempt.ts';
import type { DrillSession } from './session.ts';
import type { Target } from './targets.ts';
import { openTunnel, probeTunnel, type TunnelReport, type TunnelRequest, waitForClose } from './tunnel.ts';

/** A single byte that no protocol accepts as a complete message. */
export const PROBE_BYTE = '\0';

/** The session on whose behalf a call is made. */
export type Caller = Pick<DrillSession, 'ca' | 'mesh' | 'svids' | 'identityToken'>;

export interface Way {
  readonly edge?: { readonly host: string; readonly port: number };
  readonly straightTo?: { readonly host: string; readonly port: number };
}

export interface Presented {
  /** Whether to present the certificate for the target's grant. */
  readonly svid: boolean;
  readonly identityToken: boolean;
}

/** Builds the tunnel request for a target. */
export function createTunnelRequest(target: Target, way: Way, svid: boolean): TunnelRequest {
  const { service, authority } = target;
  const alpn = service.protocol === 'tcp' ? ['istio'] : ['istio-http/1.1', 'istio', 'http/1.1'];
  return { target: authority, grant: svid ? service.grant : 'none', ...way, alpn, peers: service.spiffe_ids };
}

/** Formats a GET request, with or without the identity token. */
export function formatRequest(
  { mesh, identityToken }: Caller,
  { authority, path }: Target,
  withToken: boolean,
): string {
  const token = withToken ? `${mesh.token_header}: ${identityToken.value}\r\n` : '';
  return `GET ${path} HTTP/1.1\r\nHost: ${authority}\r\nUser-Agent: meshpass-drill\r\n${token}\r\n`;
}

/**
 * Checks whether the edge opens a tunnel. Errors from the layers behind the edge are ignored, because they would hide
 * the edge's decision.
 */
export async function probeEdge(caller: Caller, target: Target, svid: boolean): Promise<Verdict> {
  const way = { edge: caller.mesh.edge };
  const bearer = svid ? {} : { connectHeaders: `Authorization: Bearer ${caller.identityToken.value}\r\n` };
  const opened = await openTunnel(caller, { ...createTunnelRequest(target, way, svid), ...bearer });
  if ('socket' in opened) opened.end();
  if (!('socket' in opened) && opened.stage === 'edge') return toVerdict(opened, way);
  return { verdict: 'taken', how: 'the edge opened a tunnel' };
}

/**
 * Makes one call and reports whether the mesh accepted it. Any HTTP status from the service itself, even 404, means
 * that the call was accepted.
 */
export async function call(caller: Caller, target: Target, way: Way, presented: Presented): Promise<Verdict> {
  const order = createTunnelRequest(target, way, presented.svid);
  if (target.path !== undefined)
    return toVerdict(
      await probeTunnel(caller, {
        ...order,
        send: formatRequest(caller, target, presented.identityToken),
      }),
      way,
    );
  const opened = await openTunnel(caller, order);
  if (!('socket' in opened)) return toVerdict(opened, way);
  try {
    await waitForClose(opened.socket, PROBE_BYTE);
    return { verdict: 'taken', how: 'the connection stays open' };
  } catch (thrown) {
    return { verdict: 'refused', how: `closed: ${(thrown as Error).message}` };
  } finally {
    opened.end();
  }
}

/** Converts a tunnel report into a verdict. */
export function toVerdict(report: TunnelReport, way: Way): Verdict {
  const { stage, edgeStatus, edgeCode, error, answer } = report;
  if (stage === 'edge') {
    const how = `${edgeStatus ?? ''} ${edgeCode ?? error ?? ''}`.trim();
    const refusals = ['tunnel_session_unknown', 'tunnel_certificate_untrusted', 'tunnel_certificate_missing'];
    const byEdge = edgeCode !== undefined && refusals.includes(edgeCode);
    return { verdict: byEdge || (way.edge && isTlsRefusal(error)) ? 'refused' : 'unclear', how };
  }
  if (stage === 'inner') {
    const closed = /ECONNRESET|closed|EPIPE/.test(error ?? '');
    return {
      verdict: closed || isTlsRefusal(error) ? 'refused' : 'unclear',
      how: `closed: ${(error ?? '').replace(/^ERR_\w+: /, '')}`,
    };
  }
  const status = /^HTTP\/1\.1 (\d{3})/.exec(answer ?? '')?.[1];
  if (status === undefined) return { verdict: 'unclear', how: 'no HTTP answer' };
  return { verdict: status === '403' || status === '401' ? 'refused' : 'taken', how: `HTTP ${status}` };
}

/** Whether an error is a TLS alert, sent by a peer that rejects the certificate or requires one. */
function isTlsRefusal(error: string | undefined): boolean {
  return /ALERT|alert|CERTIFICATE_(?:REQUIRED|UNKNOWN|REVOKED|EXPIRED)/.test(error ?? '');
}
