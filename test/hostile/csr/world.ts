/** A session that asks for certificates, and istiod, asked past the broker. */
import { X509Certificate } from 'node:crypto';
import { connectIstiod, type Istiod } from '@meshpass/broker/mesh/istiod/istiod';
import { MeshpassError } from '@meshpass/identity';
import type { AdversarialClient } from '@meshpass/lab/adversarial-client/drive';
import { completed, type DataPath, enrolled, idTokenProof, openDataPath } from '../../mesh.ts';
import type { Outcome } from '../area.ts';

export interface CsrWorld {
  readonly dataPath: DataPath;
  /** Alice's session, of the grant payments-dev; `as('bob')` holds bob's, of sre-bulk. */
  readonly adversary: AdversarialClient;
  readonly istiod: Istiod;
}

export const GRANT = 'payments-dev';

export async function openCsr(): Promise<CsrWorld> {
  const dataPath = await openDataPath();
  const adversary = dataPath.adversary();
  await enrolled(dataPath, adversary);
  const bob = adversary.as('bob');
  const token = dataPath.secret(await dataPath.idp.idToken({ subject: '00u2bob' }));
  await completed(dataPath, bob, await bob.enrol(idTokenProof(token)), 'sre-bulk');
  const roots = [dataPath.lab.rootCaPem()];
  const istiod = connectIstiod({
    address: dataPath.lab.istiodAddress,
    serverName: 'istiod.istio-system.svc',
    roots: () => roots,
  });
  return { dataPath, adversary, istiod };
}

export async function closeCsr({ dataPath, istiod }: CsrWorld): Promise<void> {
  istiod.close();
  await dataPath.expectNoSecretKept();
  await dataPath.close();
}

/** Response of the broker to a certificate request. */
export async function ask({ adversary }: CsrWorld, csr: string, grant = GRANT): Promise<Outcome> {
  return outcomeOf(await adversary.certificate(grant, csr));
}

/** Sends a request with a custom body. */
export async function send({ adversary }: CsrWorld, json: unknown): Promise<Outcome> {
  return outcomeOf(await adversary.speak('POST', '/certificates', { json }));
}

function outcomeOf(answer: { readonly status: number; readonly text: string }): Outcome {
  return { accepted: answer.status === 200, answer: `${answer.status} ${answer.text.slice(0, 400)}` };
}

/**
 * For requests that ask for more than a certificate of their own: let in where the certificate says so.
 * @param says what it must not say
 */
export async function askFor(
  { adversary }: CsrWorld,
  csr: string,
  says: (certificate: X509Certificate) => boolean,
): Promise<Outcome> {
  const answer = await adversary.certificate(GRANT, csr);
  if (answer.status !== 200) return outcomeOf(answer);
  const [issued] = (answer.json as { certificates: [{ chain: string }] }).certificates;
  const certificate = new X509Certificate(issued.chain);
  const own = /^URI:spiffe:\/\/cluster\.local\/ns\/meshpass-payments-dev\/sa\/alice-\w+$/;
  const accepted = says(certificate) || !own.test(certificate.subjectAltName ?? '');
  return { accepted, answer: `200, for ${certificate.subject} ${certificate.subjectAltName}` };
}

/** istiod itself, from inside the cluster's network, which no workspace reaches. */
export async function askIstiod({ istiod }: CsrWorld, token: string, csr: string): Promise<Outcome> {
  try {
    await istiod.sign({ csr, ttl: 600, token });
    return { accepted: true, answer: 'signed' };
  } catch (error) {
    if (!(error instanceof MeshpassError)) throw error;
    return { accepted: false, answer: `${error.detail.grpc}: ${error.detail.said}` };
  }
}
