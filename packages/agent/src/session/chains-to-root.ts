/** The certificates in what the broker gave, and whether ours is still vouched for. */
import { X509Certificate } from 'node:crypto';

const BLOCK = /-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g;

/** @throws Error where one of them cannot be read */
export function certificatesIn(pem: string): X509Certificate[] {
  return (pem.match(BLOCK) ?? []).map((block) => new X509Certificate(block));
}

/**
 * @param chain PEM, leaf first, without its root
 * @param roots PEM; each may hold several
 * @returns whether the last of the chain was issued by one of them; what cannot be read is not
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
