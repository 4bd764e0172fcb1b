/** Whether a certificate of ours is still vouched for. */
import { X509Certificate } from 'node:crypto';

const BLOCK = /-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g;

/**
 * @param chain PEM, leaf first, without its root
 * @param roots PEM; each may hold several
 * @returns whether the last of the chain was issued by one of them; what cannot be read is not
 */
export function chainsToRoot(chain: string, roots: readonly string[]): boolean {
  try {
    const last = chain.match(BLOCK)?.at(-1);
    if (last === undefined) return false;
    const certificate = new X509Certificate(last);
    return roots
      .flatMap((text) => text.match(BLOCK) ?? [])
      .map((pem) => new X509Certificate(pem))
      .some((root) => certificate.checkIssued(root) && certificate.verify(root.publicKey));
  } catch {
    return false;
  }
}
