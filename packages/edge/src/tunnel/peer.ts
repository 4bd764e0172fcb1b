/** The identity of the outer TLS client, which is an X.509-SVID of the mesh. It is checked again on every use. */
import type { X509Certificate } from 'node:crypto';
import type { TLSSocket } from 'node:tls';
import { MeshpassError, spiffeIdFromSan } from '@meshpass/identity';

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
 * Checks that an SVID is valid at the given time.
 * @param now the current time, in Unix milliseconds
 * @throws MeshpassError `tunnel_certificate_untrusted` if the SVID is not yet valid or has expired
 */
export function assertCurrent(peer: Peer, now: number): void {
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
