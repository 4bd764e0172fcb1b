/** Evidence file: a report and the broker's record of the session, signed by the broker as a compact JWS (RFC 7515). */
import { type DrillEvidence, EVIDENCE_TYPE, DrillEvidence as Evidence } from '@meshpass/identity/drill-report';
import { MeshpassError } from '@meshpass/identity/error';
import { compactVerify, createLocalJWKSet, type JSONWebKeySet } from 'jose';

/**
 * Verifies an evidence file.
 * @param jws content of the file
 * @param jwks broker's keys at the time of the drill
 * @throws MeshpassError `evidence_invalid`
 */
export async function verifyEvidence(jws: string, jwks: unknown): Promise<DrillEvidence> {
  const invalid = (message: string, cause?: unknown) => new MeshpassError('evidence_invalid', message, { cause });
  let payload: unknown;
  try {
    const keys = createLocalJWKSet(jwks as JSONWebKeySet);
    const verified = await compactVerify(jws.trim(), keys, { algorithms: ['RS256'] });
    if (verified.protectedHeader.typ !== EVIDENCE_TYPE) throw new Error(`typ is ${verified.protectedHeader.typ}`);
    payload = JSON.parse(Buffer.from(verified.payload).toString('utf8'));
  } catch (cause) {
    throw invalid(`The broker did not sign this evidence (${(cause as Error).message}).`, cause);
  }
  const read = Evidence.safeParse(payload);
  if (!read.success) throw invalid('The broker signed this evidence, but this version cannot read it.', read.error);
  const { drill, witness } = read.data;
  if (drill.session.id !== witness.session.id) throw invalid('Report and witness belong to different sessions.');
  return read.data;
}
