/** Who is at the other end of the outer TLS: an X.509-SVID of the mesh, checked again at every use. */
import type { X509Certificate } from 'node:crypto';
import type { TLSSocket } from 'node:tls';
import { MeshpassError, spiffeOfSan } from '@meshpass/identity';

export interface Peer {
  readonly spiffeId: string;
  /** Unix ms. */
  readonly notBefore: number;
  readonly notAfter: number;
}

/**
 * The client's SVID. Node has verified the chain against the roots of the mesh, but on a resumed session that verdict is
 * the one of the first handshake (OpenSSL keeps it in the ticket), and a resumed session without a certificate counts
 * as verified: so the certificate must be there, and its dates are compared with the clock by `assertCurrent`.
 * @throws MeshpassError `tunnel_certificate_missing`, `tunnel_certificate_untrusted`
 */
export function peerOf(socket: TLSSocket): Peer {
  const certificate: X509Certificate | undefined = socket.getPeerX509Certificate();
  if (!certificate) {
    throw new MeshpassError(
      'tunnel_certificate_missing',
      'Present the SVID of your session as TLS client certificate.',
    );
  }
  if (!socket.authorized) {
    throw untrusted('The certificate is not one of this mesh, or not valid now.', String(socket.authorizationError));
  }
  // X509-SVID specification, section 4.1: a leaf must not be a CA; section 2: exactly one URI SAN.
  if (certificate.ca) throw untrusted('The certificate is that of a CA, not of a workload.');
  const spiffeId = spiffeOfSan(certificate.subjectAltName);
  if (!spiffeId) throw untrusted('The certificate does not carry exactly one SPIFFE id.');
  return {
    spiffeId,
    notBefore: certificate.validFromDate.getTime(),
    notAfter: certificate.validToDate.getTime(),
  };
}

/**
 * @param now Unix ms
 * @throws MeshpassError `tunnel_certificate_untrusted` where the SVID is not yet or no longer valid
 */
export function assertCurrent(peer: Peer, now: number): void {
  if (now < peer.notBefore) throw untrusted('The certificate is not valid yet.');
  if (now >= peer.notAfter) {
    throw untrusted(
      'The certificate has expired: get a new one, and do not resume a TLS session made with the old one.',
    );
  }
}

function untrusted(message: string, why?: string): MeshpassError {
  return new MeshpassError('tunnel_certificate_untrusted', message, why === undefined ? {} : { detail: { why } });
}
