/** Reads the validity periods of certificates. */
import { X509Certificate } from 'node:crypto';

/** The validity period of a certificate, in Unix seconds. */
export interface CertificateValidity {
  readonly notBefore: number;
  readonly notAfter: number;
}

/**
 * Reads the validity period of a certificate.
 * @param certificate the parsed certificate, or PEM. Only the first certificate in a PEM chain is read, because a later
 *   one, such as a cross-signed root, may expire earlier without any consequences
 * @throws Error from Node.js if the text does not contain a certificate
 */
export function certificateValidity(certificate: X509Certificate | string | Buffer): CertificateValidity {
  const { validFromDate, validToDate } =
    certificate instanceof X509Certificate ? certificate : new X509Certificate(certificate);
  return { notBefore: validFromDate.getTime() / 1000, notAfter: validToDate.getTime() / 1000 };
}
