/** Whether a certificate that the broker gave is one for the key that was made for it, with a chain that can be read. */
import type { KeyObject, X509Certificate } from 'node:crypto';
import { MeshpassError } from '@meshpass/identity/error';
import { spiffeOfSan } from '@meshpass/identity/spiffe';
import type { CertificateResponse } from '@meshpass/identity/wire';
import { certificatesIn } from './chains-to-root.ts';

/** Longest that an SVID is used before the next one is asked for, seconds. */
const LONGEST_LIFE = 86_400;

/**
 * A certificate for another key would fail in every connection, long after the cause. So it is looked at when it comes.
 * @param now Unix seconds by the broker's clock
 * @throws MeshpassError agent_broker_answer_invalid
 */
export function acceptCertificate(given: CertificateResponse['certificates'][number], key: KeyObject, now: number) {
  const leaf = readLeaf(given.chain);
  if (!leaf?.checkPrivateKey(key)) throw invalid(given.grant, 'is not for the key that was sent');
  if (spiffeOfSan(leaf.subjectAltName) !== given.spiffe_id) throw invalid(given.grant, 'names another SPIFFE id');
  if (given.not_after - now > LONGEST_LIFE) throw invalid(given.grant, 'lives for more than a day');
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
    `The certificate that the broker gave for grant ${grant} ${what}; it is not used.`,
  );
}
