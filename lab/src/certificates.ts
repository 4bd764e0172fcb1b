/**
 * The lab's own authorities, created for each lab: one for the `.test` names and the Kubernetes API (tls/), and the
 * mesh's (ca/), which istiod gets as a plugged-in CA, so that sidecars can start before istiod is up.
 */
import 'reflect-metadata';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import * as x509 from '@peculiar/x509';
import { FORWARDING_DOMAIN, type Plan, TEST_NAMES, TRUST_DOMAIN } from './plan.ts';

const DAY_MS = 24 * 60 * 60 * 1000;
const DAYS = 365;
const EC = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' };
/** Authority that istiod creates for itself if none is plugged in. */
const RSA = {
  name: 'RSASSA-PKCS1-v1_5',
  hash: 'SHA-256',
  publicExponent: new Uint8Array([1, 0, 1]),
  modulusLength: 2048,
};

export interface Certificates {
  /** Root of the `.test` names and of the Kubernetes API, which a workspace would have in its trust store. */
  readonly testCa: string;
  /** Root of the mesh. */
  readonly meshCa: string;
}

export function certificatePaths(dir: string): Certificates {
  return { testCa: join(dir, 'tls/ca.crt'), meshCa: join(dir, 'ca/root-cert.pem') };
}

/** Writes tls/ca.crt, tls/NAME.crt and .key for each name, tls/sa.key and .pub, and istiod's ca/ folder. */
export async function writeCertificates(dir: string, plan: Plan): Promise<void> {
  const tls = join(dir, 'tls');
  mkdirSync(join(dir, 'ca'), { recursive: true, mode: 0o755 });
  const control = plan.hosts.control?.ip ?? '';
  await writeTestCertificates(tls, ['kubernetes.default.svc', control]);

  const mesh = await makeAuthority('Meshpass lab mesh', RSA, { names: MESH_NAMES });
  for (const file of ['root-cert.pem', 'ca-cert.pem', 'cert-chain.pem']) {
    writeFileSync(join(dir, 'ca', file), mesh.certificate.toString('pem'));
  }
  await writeKey(join(dir, 'ca/ca-key.pem'), mesh.keys.privateKey);
}

/**
 * Writes ca.crt and ca.key, NAME.crt and .key for each `.test` name and for Kubernetes, and the key of ServiceAccount tokens.
 * @param kubernetes names and addresses of the Kubernetes API
 * @param more other certificates of the same authority
 */
export async function writeTestCertificates(
  tls: string,
  kubernetes: readonly string[],
  more: Readonly<Record<string, Leaf>> = {},
): Promise<void> {
  mkdirSync(tls, { recursive: true, mode: 0o755 });
  const ca = await makeAuthority('Meshpass lab CA', EC);
  writeFileSync(join(tls, 'ca.crt'), ca.certificate.toString('pem'));
  await writeKey(join(tls, 'ca.key'), ca.keys.privateKey);
  const leaves: Record<string, Leaf> = { kubernetes: { alternatives: kubernetes }, ...more };
  for (const name of Object.keys(TEST_NAMES)) leaves[name] = { alternatives: [name] };
  leaves[FORWARDING_DOMAIN] = { alternatives: [`*.${FORWARDING_DOMAIN}`] };
  await Promise.all(Object.entries(leaves).map(([name, leaf]) => writeLeaf(tls, name, leaf, ca)));

  const accounts = await crypto.subtle.generateKey({ ...RSA }, true, ['sign', 'verify']);
  await writeKey(join(tls, 'sa.key'), accounts.privateKey);
  const spki = await crypto.subtle.exportKey('spki', accounts.publicKey);
  writeFileSync(join(tls, 'sa.pub'), x509.PemConverter.encode(spki, 'PUBLIC KEY'));
}

/** Holder of a certificate. */
export interface Leaf {
  /** DNS names and addresses of a server. */
  readonly alternatives?: readonly string[];
  /** Kubernetes user and group of a client certificate. */
  readonly client?: { readonly user: string; readonly group: string };
}

/** A CA for the mesh as an operator would plug it in: the PEM files of Istio's Secret `cacerts`. */
export interface MeshAuthority {
  readonly root: string;
  readonly 'ca-cert.pem': string;
  readonly 'ca-key.pem': string;
  readonly 'cert-chain.pem': string;
}

/** A new root that is offline, and an intermediate of it that istiod signs with. */
export async function makeMeshAuthority(name: string): Promise<MeshAuthority> {
  const issuer = await makeAuthority(`${name} root`, RSA, {});
  const intermediate = await makeAuthority(name, RSA, { names: MESH_NAMES, issuer });
  const root = issuer.certificate.toString('pem');
  const certificate = intermediate.certificate.toString('pem');
  return {
    root,
    'ca-cert.pem': certificate,
    'ca-key.pem': await pemOf(intermediate.keys.privateKey),
    'cert-chain.pem': `${certificate}\n${root}`,
  };
}

const MESH_NAMES: x509.JsonGeneralNames = [{ type: 'url', value: `spiffe://${TRUST_DOMAIN}` }];

interface KeyPair {
  readonly publicKey: CryptoKey;
  readonly privateKey: CryptoKey;
}

interface Authority {
  readonly certificate: x509.X509Certificate;
  readonly keys: KeyPair;
}

async function makeAuthority(
  name: string,
  algorithm: typeof EC | typeof RSA,
  { names, issuer }: { readonly names?: x509.JsonGeneralNames; readonly issuer?: Authority } = {},
): Promise<Authority> {
  const keys = (await crypto.subtle.generateKey(algorithm, true, ['sign', 'verify'])) as KeyPair;
  const subject = `CN=${name},O=Meshpass lab`;
  const certificate = await x509.X509CertificateGenerator.create({
    subject,
    issuer: issuer?.certificate.subject ?? subject,
    ...validity(),
    signingAlgorithm: algorithm,
    publicKey: keys.publicKey,
    signingKey: (issuer?.keys ?? keys).privateKey,
    extensions: [
      new x509.BasicConstraintsExtension(true, undefined, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.keyCertSign | x509.KeyUsageFlags.cRLSign, true),
      await x509.SubjectKeyIdentifierExtension.create(keys.publicKey),
      ...(issuer ? [await x509.AuthorityKeyIdentifierExtension.create(issuer.keys.publicKey)] : []),
      ...(names ? [new x509.SubjectAlternativeNameExtension(names)] : []),
    ],
  });
  return { certificate, keys };
}

async function writeLeaf(folder: string, name: string, leaf: Leaf, ca: Authority): Promise<void> {
  const { alternatives = [], client } = leaf;
  const keys = (await crypto.subtle.generateKey(EC, true, ['sign', 'verify'])) as KeyPair;
  const isAddress = (text: string): boolean => /^[0-9.]+$/.test(text);
  const certificate = await x509.X509CertificateGenerator.create({
    subject: client ? `O=${client.group},CN=${client.user}` : `CN=${name}`,
    issuer: ca.certificate.subject,
    ...validity(),
    signingAlgorithm: EC,
    publicKey: keys.publicKey,
    signingKey: ca.keys.privateKey,
    extensions: [
      new x509.BasicConstraintsExtension(false),
      new x509.ExtendedKeyUsageExtension([x509.ExtendedKeyUsage[client ? 'clientAuth' : 'serverAuth']]),
      ...(alternatives.length > 0
        ? [
            new x509.SubjectAlternativeNameExtension(
              alternatives.map((value) => ({ type: isAddress(value) ? 'ip' : 'dns', value })),
            ),
          ]
        : []),
      await x509.AuthorityKeyIdentifierExtension.create(ca.certificate),
    ],
  });
  writeFileSync(join(folder, `${name}.crt`), certificate.toString('pem'));
  await writeKey(join(folder, `${name}.key`), keys.privateKey);
}

function validity(): { notBefore: Date; notAfter: Date } {
  return { notBefore: new Date(Date.now() - DAY_MS), notAfter: new Date(Date.now() + DAYS * DAY_MS) };
}

async function writeKey(file: string, key: CryptoKey): Promise<void> {
  writeFileSync(file, await pemOf(key), { mode: 0o600 });
}

async function pemOf(key: CryptoKey): Promise<string> {
  return x509.PemConverter.encode(await crypto.subtle.exportKey('pkcs8', key), 'PRIVATE KEY');
}
