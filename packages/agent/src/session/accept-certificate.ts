/** Checks a certificate from the broker. It must match the key generated for it, and its chain must be readable. */
import type { KeyObject, X509Certificate } from 'node:crypto';
import { MeshpassError } from '@meshpass/identity/error';
import { spiffeOfSan } from '@meshpass/identity/spiffe';
import type { CertificateResponse } from '@meshpass/identity/wire';
import { certificatesIn } from './chains-to-root.ts';

/** Maximum lifetime of an SVID, seconds. */
const LONGEST_LIFE = 86_400;

/**
 * Checks a certificate on receipt. A certificate for a different key would fail in every connection, long after the
 * cause.
 * @param now Unix seconds on the broker's clock
 * @throws MeshpassError agent_broker_answer_invalid
 */
export function acceptCertificate(given: CertificateResponse['certificates'][number], key: KeyObject, now: number) {
  const leaf = readLeaf(given.chain);
  if (!leaf?.checkPrivateKey(key)) throw invalid(given.grant, 'does not match the key that was sent');
  if (spiffeOfSan(leaf.subjectAltName) !== given.spiffe_id) throw invalid(given.grant, 'has a different SPIFFE id');
  if (given.not_after - now > LONGEST_LIFE) throw invalid(given.grant, 'is valid for more than a day');
}

function readLeaf(chain: string): X509Certificate | undefined {
  try {
    return certificatesIn(chain)[0];
  } catch {
    return undefined;
  }
}

function invalid(grant: string, what: string): MeshpassError {
  return new MeshpassError(
    'agent_broker_answer_invalid',
    `The broker's certificate for grant ${grant} ${what}. The agent rejected it.`,
  );
}
