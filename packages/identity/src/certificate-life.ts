/** How long the certificate of a server is good. */
import { X509Certificate } from 'node:crypto';

/** Unix seconds. */
export interface CertificateLife {
  readonly notBefore: number;
  readonly notAfter: number;
}

/**
 * @param pem the certificate, or a chain that begins with it: what follows may be over sooner, such as a cross-signed root, and nobody minds
 * @throws Error of Node where it is none
 */
export function lifeOf(pem: string | Buffer): CertificateLife {
  const { validFrom, validTo } = new X509Certificate(pem);
  return { notBefore: Date.parse(validFrom) / 1000, notAfter: Date.parse(validTo) / 1000 };
}
