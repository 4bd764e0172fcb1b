/** How long the certificate of a server is good. */
import { X509Certificate } from 'node:crypto';

/** Unix seconds. */
export interface CertificateLife {
  readonly notBefore: number;
  readonly notAfter: number;
}

/**
 * @param certificate parsed, or PEM of it or of a chain that begins with it: what follows may be over sooner, such as a cross-signed root, and nobody minds
 * @throws Error of Node where it is none
 */
export function lifeOf(certificate: X509Certificate | string | Buffer): CertificateLife {
  const { validFromDate, validToDate } =
    certificate instanceof X509Certificate ? certificate : new X509Certificate(certificate);
  return { notBefore: validFromDate.getTime() / 1000, notAfter: validToDate.getTime() / 1000 };
}
