/** Certificates with which a client of the edge must get nowhere. */
import 'reflect-metadata';
import { createPrivateKey, generateKeyPairSync, X509Certificate } from 'node:crypto';
import { connectIstiod } from '@meshpass/broker/mesh/istiod/istiod';
import { createCsr, parseSpiffe } from '@meshpass/identity';
import type { Svid } from '@meshpass/lab/adversarial-client/holder';
import * as x509 from '@peculiar/x509';
import type { DataPath } from '../../mesh.ts';

export interface Credential {
  readonly key: string;
  readonly chain: string;
}

const EC = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' } as const;

/** An SVID as a sidecar gets one, from istiod itself and not by way of Meshpass. @param ttl seconds */
export async function fromIstiod({ lab }: DataPath, spiffeId: string, ttl = 600): Promise<Credential> {
  const { namespace, serviceAccount } = parseSpiffe(spiffeId)!;
  const token = await lab.kubernetes.serviceAccountToken(namespace, serviceAccount, ['istio-ca'], 600);
  const roots = () => [lab.rootCaPem()];
  const istiod = connectIstiod({ address: lab.istiodAddress, serverName: 'istiod.istio-system.svc', roots });
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  try {
    const chain = await istiod.sign({ csr: createCsr(privateKey), ttl, token });
    return { key: privateKey.export({ type: 'pkcs8', format: 'pem' }) as string, chain: chain.join('\n') };
  } finally {
    istiod.close();
  }
}

/** Self-signed certificate. */
export async function selfSigned(spiffeId: string): Promise<Credential> {
  const keys = await newKeys();
  const chain = await x509.X509CertificateGenerator.createSelfSigned({
    name: 'O=me',
    keys,
    signingAlgorithm: EC,
    notAfter: inAnHour(),
    extensions: [san(spiffeId)],
  });
  return { key: await pemOf(keys.privateKey), chain: chain.toString('pem') };
}

/** Another mesh with the same trust domain vouches for it. */
export async function ofAnotherMesh(spiffeId: string): Promise<Credential> {
  const root = await newKeys();
  return issuedBy('O=cluster.local', root.privateKey, spiffeId);
}

/** A session's own SVID, used as if it were a CA. @param victim whose SPIFFE id is claimed */
export async function signedBy(svid: Svid, victim: string): Promise<Credential> {
  const pkcs8 = createPrivateKey(svid.privateKey).export({ type: 'pkcs8', format: 'der' });
  const key = await crypto.subtle.importKey('pkcs8', new Uint8Array(pkcs8), EC, false, ['sign']);
  const subject = new x509.X509Certificate(new X509Certificate(svid.chain).toString()).subject;
  const forged = await issuedBy(subject, key, victim);
  return { key: forged.key, chain: `${forged.chain}\n${svid.chain}` };
}

async function issuedBy(issuer: string, signingKey: CryptoKey, spiffeId: string): Promise<Credential> {
  const keys = await newKeys();
  const chain = await x509.X509CertificateGenerator.create({
    subject: '',
    issuer,
    signingKey,
    publicKey: keys.publicKey,
    signingAlgorithm: EC,
    notAfter: inAnHour(),
    extensions: [san(spiffeId)],
  });
  return { key: await pemOf(keys.privateKey), chain: chain.toString('pem') };
}

const san = (spiffeId: string) => new x509.SubjectAlternativeNameExtension([{ type: 'url', value: spiffeId }]);
const inAnHour = () => new Date(Date.now() + 3_600_000);
const newKeys = () => crypto.subtle.generateKey(EC, true, ['sign', 'verify']);

async function pemOf(key: CryptoKey): Promise<string> {
  const pkcs8 = Buffer.from(await crypto.subtle.exportKey('pkcs8', key)).toString('base64');
  return `-----BEGIN PRIVATE KEY-----\n${pkcs8.match(/.{1,64}/g)!.join('\n')}\n-----END PRIVATE KEY-----\n`;
}
