/** Certificate requests that must get no certificate, or one without the requested names. */
import 'reflect-metadata';
import { createPublicKey, generateKeyPairSync, X509Certificate } from 'node:crypto';
import { createCsr } from '@meshpass/identity';
import type { AdversarialClient } from '@meshpass/lab/adversarial-client/drive';
import { Pkcs10CertificateRequestGenerator, SubjectAlternativeNameExtension } from '@peculiar/x509';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { codespaceProof, completed, type DataPath, enrolled, expectRefused, openDataPath } from '../mesh.ts';

let dataPath: DataPath;
let adversary: AdversarialClient;

beforeAll(async () => {
  dataPath = await openDataPath();
  adversary = dataPath.adversary();
  await enrolled(dataPath, adversary);
});
afterAll(() => dataPath?.close());

const der = (pem: string) => Buffer.from(pem.replace(/-----[^-]+-----/g, ''), 'base64');
const pem = (bytes: Buffer) =>
  `-----BEGIN CERTIFICATE REQUEST-----\n${bytes.toString('base64').replace(/.{64}/g, '$&\n')}\n-----END CERTIFICATE REQUEST-----\n`;
const ec = (namedCurve: string) => generateKeyPairSync('ec', { namedCurve });
const honest = () => createCsr(ec('P-256').privateKey);
const ecdsa = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' };

/** The request of one key, in which another key's stands: its signature proves nothing. */
function otherKey(): string {
  const mine = ec('P-256').publicKey.export({ type: 'spki', format: 'der' });
  const theirs = ec('P-256');
  const request = der(createCsr(theirs.privateKey));
  const at = request.indexOf(theirs.publicKey.export({ type: 'spki', format: 'der' }));
  expect(at).toBeGreaterThan(0);
  mine.copy(request, at);
  return pem(request);
}

function brokenSignature(): string {
  const request = der(honest());
  request[request.length - 1]! ^= 1;
  return pem(request);
}

async function withRsa(modulusLength: number): Promise<string> {
  const alg = { name: 'RSASSA-PKCS1-v1_5', hash: 'SHA-256', publicExponent: new Uint8Array([1, 0, 1]), modulusLength };
  const keys = await crypto.subtle.generateKey(alg, true, ['sign', 'verify']);
  return (await Pkcs10CertificateRequestGenerator.create({ keys, signingAlgorithm: alg })).toString('pem');
}

const BAD: readonly (readonly [string, () => string | Promise<string>, number, string])[] = [
  ['names another key than the one that signed it', otherKey, 400, 'csr_signature'],
  ['has a wrong signature', brokenSignature, 400, 'csr_signature'],
  ['has an RSA key of 1024 bits', () => withRsa(1024), 400, 'csr_weak_key'],
  ['is garbage in PEM', () => pem(Buffer.from('no certificate request at all')), 400, 'csr_malformed'],
  ['is cut off', () => pem(der(honest()).subarray(0, 90)), 400, 'csr_malformed'],
  ['is not PEM', () => 'give me a certificate', 400, 'csr_malformed'],
  ['is two requests', () => honest() + honest(), 400, 'csr_malformed'],
  ['is something else in PEM', () => honest().replaceAll('CERTIFICATE REQUEST', 'CERTIFICATE'), 400, 'csr_malformed'],
  ['is larger than a request may be', () => honest() + '\n'.repeat(9_000), 413, 'csr_too_large'],
  ['is larger than a body may be', () => 'A'.repeat(70_000), 413, 'request_too_large'],
  ['is empty', () => '', 400, 'request_malformed'],
];

describe('a certificate request is refused and audited if it', () => {
  it.each(BAD)('%s', async (_, csr, status, code) => {
    const answer = await adversary.certificate('payments-dev', await csr());
    const row = await expectRefused(dataPath, answer, {
      status,
      error: 'invalid_request',
      code,
      action: 'certificate.issue',
    });
    expect(row).toMatchObject({ login: 'alice', subject: 'github:583231' });
  });

  it.each(['sre-bulk', 'no-such-grant', '../payments-dev', 'shop'])('is for the grant %j', async (grant) => {
    const answer = await adversary.certificate(grant);
    const refusal = { status: 403, error: 'invalid_request', code: 'grant_unknown', action: 'certificate.issue' };
    await expectRefused(dataPath, answer, refusal);
  });

  it('names a grant twice', async () => {
    const certificates = [honest(), honest()].map((csr) => ({ grant: 'payments-dev', csr }));
    const answer = await adversary.speak('POST', '/certificates', { json: { certificates } });
    const refusal = { status: 400, error: 'invalid_request', code: 'request_malformed', action: 'certificate.issue' };
    await expectRefused(dataPath, answer, refusal);
  });

  it.each([{}, [], 'x', { certificates: [] }, { certificates: [{ grant: 1, csr: 2 }] }, null])(
    'comes as %j',
    async (json) => {
      const answer = await adversary.speak('POST', '/certificates', { json });
      const refusal = { status: 400, error: 'invalid_request', code: 'request_malformed', action: 'certificate.issue' };
      await expectRefused(dataPath, answer, refusal);
    },
  );
});

it('a refused request leaves the session as it was: the next honest one is signed', async () => {
  const answer = await adversary.certificate('payments-dev', honest());
  expect(answer).toMatchObject({ status: 200 });
  expect(await dataPath.accounts()).toHaveLength(1);
});

it('names that a request asks for are ignored: the certificate has the SPIFFE id of the grant and no other', async () => {
  const keys = await crypto.subtle.generateKey(ecdsa, true, ['sign', 'verify']);
  const names = new SubjectAlternativeNameExtension([
    { type: 'url', value: 'spiffe://cluster.local/ns/istio-system/sa/istiod' },
    { type: 'dns', value: 'istiod.istio-system.svc' },
    { type: 'dns', value: '*.shop.svc.cluster.local' },
    { type: 'ip', value: '10.96.0.1' },
  ]);
  const request = await Pkcs10CertificateRequestGenerator.create({
    keys,
    signingAlgorithm: ecdsa,
    name: 'CN=admin,O=system:masters',
    extensions: [names],
  });
  const answer = await adversary.certificate('payments-dev', request.toString('pem'));
  expect(answer).toMatchObject({ status: 200 });
  const [{ chain, spiffe_id: spiffeId }] = (answer.json as { certificates: [{ chain: string; spiffe_id: string }] })
    .certificates;
  const certificate = new X509Certificate(chain);
  expect(spiffeId).toMatch(/^spiffe:\/\/cluster\.local\/ns\/meshpass-payments-dev\/sa\/alice-\w+$/);
  expect(certificate.subjectAltName).toBe(`URI:${spiffeId}`);
  expect(certificate.subject ?? '').not.toMatch(/admin|masters/);
  expect(certificate.ca).toBe(false);
  const asked = createPublicKey({ key: await crypto.subtle.exportKey('jwk', keys.publicKey), format: 'jwk' });
  expect(certificate.publicKey.equals(asked)).toBe(true);
  const [row] = (await dataPath.audit()).filter((one) => one.action === 'certificate.issue').slice(-1);
  expect(row).toMatchObject({ outcome: 'allowed', target: spiffeId, grant_name: 'payments-dev' });
});

it('a certificate lives minutes', async () => {
  const { svids } = await adversary.show();
  const { validFromDate, validToDate } = new X509Certificate(svids['payments-dev']!.chain);
  expect(validToDate.getTime() - Date.now()).toBeLessThanOrEqual(600_000);
  expect(validToDate.getTime()).toBeGreaterThan(validFromDate.getTime());
});

it('each developer has a ServiceAccount of their own, and it goes with the session', async () => {
  const other = adversary.as('bob');
  const token = await dataPath.idp.idToken({ subject: '00u2bob' });
  const form = {
    subject_token_type: 'urn:ietf:params:oauth:token-type:id_token',
    subject_token: dataPath.secret(token),
  };
  await completed(dataPath, other, await other.enrol(form), 'sre-bulk');
  const accounts = await dataPath.accounts();
  expect(accounts).toHaveLength(2);
  expect(accounts.map((one) => one.replace(/-\w+$/, ''))).toEqual([
    'meshpass-payments-dev/alice',
    'meshpass-sre-bulk/bob',
  ]);
  expect(await other.speak('DELETE', '/session')).toMatchObject({ status: 204 });
  await expect.poll(() => dataPath.accounts(), { timeout: 10_000 }).toHaveLength(1);
  await expectRefused(dataPath, await other.certificate('sre-bulk'), {
    status: 401,
    error: 'invalid_token',
    code: 'session_closed',
    action: 'certificate.issue',
  });
  expect(await dataPath.accounts()).toHaveLength(1);
});

it('a second enrolment of a Codespace ends the first', async () => {
  const started = await dataPath.codespace();
  const first = adversary.as('first');
  await completed(dataPath, first, await first.enrol(codespaceProof(started)), 'payments-dev');
  const second = adversary.as('second');
  await completed(dataPath, second, await second.enrol(codespaceProof(started)), 'payments-dev');
  const refusal = { status: 401, error: 'invalid_token', code: 'session_closed', action: 'certificate.issue' };
  await expectRefused(dataPath, await first.certificate('payments-dev'), refusal);
  await expectRefused(dataPath, await first.token(), { ...refusal, action: 'token.issue' });
});

it('no audit row and no line of the log holds a token', () => dataPath.expectNoSecretKept());
