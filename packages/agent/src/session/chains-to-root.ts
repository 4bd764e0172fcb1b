/** Parses the broker's certificates and checks whether the workspace's own certificates still chain to a root. */
import { X509Certificate } from 'node:crypto';

const BLOCK = /-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g;

/** Parses the certificates in a PEM text. @throws Error if any of them is invalid */
export function certificatesIn(pem: string): X509Certificate[] {
  return (pem.match(BLOCK) ?? []).map((block) => new X509Certificate(block));
}

/**
 * Whether one of the roots issued the last certificate in a chain. False if a certificate is invalid.
 * @param chain PEM, leaf first, without its root
 * @param roots PEM, each with one or more certificates
 */
export function chainsToRoot(chain: string, roots: readonly string[]): boolean {
  try {
    const last = certificatesIn(chain).at(-1);
    return roots
      .flatMap(certificatesIn)
      .some((root) => last?.checkIssued(root) === true && last.verify(root.publicKey));
  } catch {
    return false;
  }
}
