/**
 * Checks who the client is and whether its session may reach the target. The checks are repeated at every step, because
 * a session may have ended in the meantime.
 */
import type { X509Certificate } from 'node:crypto';
import type { TLSSocket } from 'node:tls';
import { MeshpassError, spiffeIdFromSan } from '@meshpass/identity';
import { type LiveSession, mayReach, type SessionDirectory } from '../directory.ts';
import type { ConnectDestination } from './connect.ts';
import type { GatewayAddress } from './forward.ts';

/** The identity of the outer TLS client, which is an X.509-SVID of the mesh. It is checked again on every use. */
export interface Peer {
  readonly spiffeId: string;
  /** When the SVID becomes valid, in Unix milliseconds. */
  readonly notBefore: number;
  readonly notAfter: number;
}

/**
 * Returns the client's SVID. Node.js has verified its chain against the mesh's root certificates. When a TLS session is
 * resumed, however, OpenSSL takes the result of the first handshake from the ticket, and treats a resumed session
 * without a certificate as verified. The certificate must therefore be present, and `assertCurrent` compares its dates
 * with the clock.
 * @throws MeshpassError `tunnel_certificate_missing`, `tunnel_certificate_untrusted`
 */
export function peerOf(socket: TLSSocket): Peer {
  const certificate: X509Certificate | undefined = socket.getPeerX509Certificate();
  if (!certificate) {
    throw new MeshpassError('tunnel_certificate_missing', "Present your session's SVID as the TLS client certificate.");
  }
  if (!socket.authorized) {
    throw untrusted(
      'The certificate was not issued by this mesh, or is not currently valid.',
      String(socket.authorizationError),
    );
  }
  // According to the X509-SVID specification, a leaf must not be a CA (section 4.1) and must have exactly one URI SAN
  // (section 2).
  if (certificate.ca) throw untrusted('The certificate is a CA certificate, not a workload certificate.');
  const spiffeId = spiffeIdFromSan(certificate.subjectAltName);
  if (!spiffeId) throw untrusted('The certificate does not contain exactly one SPIFFE id.');
  return {
    spiffeId,
    notBefore: certificate.validFromDate.getTime(),
    notAfter: certificate.validToDate.getTime(),
  };
}

/**
 * Returns the live session to which an SVID belongs.
 * @param now the current time, in Unix milliseconds
 * @throws MeshpassError `tunnel_certificate_untrusted`, `tunnel_directory_stale`, `tunnel_session_unknown`
 */
export function liveSession(directory: SessionDirectory, peer: Peer, now: number): LiveSession {
  assertCurrent(peer, now);
  if (directory.state() !== 'fresh') throw directoryStaleError();
  const session = directory.find(peer.spiffeId);
  if (!session) throw sessionUnknown();
  return session;
}

/**
 * Checks that the session that opened the connection is still live and may reach the target.
 * @param target the `host:port` of the CONNECT request, without the subset
 * @throws MeshpassError as for `liveSession`, or `tunnel_target_not_granted`
 */
export function authorizeTarget(
  directory: SessionDirectory,
  { peer, sessionId, target }: { readonly peer: Peer; readonly sessionId: string; readonly target: string },
  now: number,
): void {
  const session = liveSession(directory, peer, now);
  if (session.id !== sessionId) throw sessionUnknown();
  if (!mayReach(session, peer.spiffeId, target)) {
    throw new MeshpassError(
      'tunnel_target_not_granted',
      `${target} is not granted to this certificate. Run "meshpass status" to list what is.`,
    );
  }
}

/**
 * Returns the address that the edge should dial for a destination.
 * @throws MeshpassError `tunnel_kubernetes_off` if the destination is the API server and this edge has no route to it
 */
export function selectUpstream(
  { gateway, kubernetesApi }: { readonly gateway: GatewayAddress; readonly kubernetesApi: GatewayAddress | undefined },
  { isKubernetes }: ConnectDestination,
): GatewayAddress {
  if (!isKubernetes) return gateway;
  if (kubernetesApi) return kubernetesApi;
  throw new MeshpassError(
    'tunnel_kubernetes_off',
    'This edge does not forward to the Kubernetes API server. Its operator has to set --kubernetes-api.',
  );
}

/** Creates the error for a session directory that is not up to date. */
export function directoryStaleError(): MeshpassError {
  return new MeshpassError(
    'tunnel_directory_stale',
    'The edge has lost contact with its broker and accepts no connections. Try again shortly.',
    { retryAfter: 2 },
  );
}

function sessionUnknown(): MeshpassError {
  return new MeshpassError(
    'tunnel_session_unknown',
    'The certificate does not belong to a live session: the session has ended, or Meshpass did not issue this certificate. Start a new session with "meshpass up".',
  );
}

/**
 * Checks that an SVID is valid at the given time.
 * @param now the current time, in Unix milliseconds
 * @throws MeshpassError `tunnel_certificate_untrusted` if the SVID is not yet valid or has expired
 */
function assertCurrent(peer: Peer, now: number): void {
  if (now < peer.notBefore) throw untrusted('The certificate is not valid yet.');
  if (now >= peer.notAfter) {
    throw untrusted(
      'The certificate has expired. Obtain a new one, and do not resume a TLS session that used the old one.',
    );
  }
}

function untrusted(message: string, why?: string): MeshpassError {
  return new MeshpassError('tunnel_certificate_untrusted', message, why === undefined ? {} : { detail: { why } });
}
