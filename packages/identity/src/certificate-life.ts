/** Reads validity periods from certificates. */
import { X509Certificate } from 'node:crypto';

/** Validity period, Unix seconds. */
export interface CertificateValidity {
  readonly notBefore: number;
  readonly notAfter: number;
}

/**
 * Reads the validity period of a certificate.
 * @param certificate parsed certificate or PEM. Only the first certificate of a PEM chain is read: a later one, such
 *   as a cross-signed root, may expire sooner without consequences.
 * @throws Error from Node.js if the text contains no certificate
 */
export function certificateValidity(certificate: X509Certificate | string | Buffer): CertificateValidity {
  const { validFromDate, validToDate } =
    certificate instanceof X509Certificate ? certificate : new X509Certificate(certificate);
  return { notBefore: validFromDate.getTime() / 1000, notAfter: validToDate.getTime() / 1000 };
}
