import 'reflect-metadata';
import { createPublicKey, generateKeyPairSync, type KeyObject, type webcrypto } from 'node:crypto';
import { BasicConstraintsExtension, SubjectAlternativeNameExtension, X509CertificateGenerator } from '@peculiar/x509';
import { beforeAll, describe, expect, it } from 'vitest';
import { verifyCertificate } from '../../src/mesh/istiod/verify-certificate.ts';

const EC = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' } as const;
const SPIFFE = 'spiffe://cluster.local/ns/meshpass-dev/sa/ann-1';
const NOW = Math.floor(Date.now() / 1000);

interface Authority {
  readonly name: string;
  readonly keys: webcrypto.CryptoKeyPair;
  readonly pem: string;
}

async function authority(name: string, signer?: Authority): Promise<Authority> {
  const keys = await crypto.subtle.generateKey(EC, true, ['sign', 'verify']);
  const certificate = await X509CertificateGenerator.create({
    subject: name,
    issuer: signer?.name ?? name,
    publicKey: keys.publicKey,
    signingAlgorithm: EC,
    signingKey: (signer?.keys ?? keys).privateKey,
    extensions: [new BasicConstraintsExtension(true, undefined, true)],
  });
  return { name, keys, pem: certificate.toString('pem') };
}

interface Leaf {
  readonly uris?: readonly string[];
  readonly key?: KeyObject;
  readonly life?: number;
  readonly from?: number;
  readonly ca?: boolean;
}

const key = generateKeyPairSync('ec', { namedCurve: 'P-256' }).publicKey;
const spki = (of: KeyObject): Buffer =>
  createPublicKey(of.export({ type: 'spki', format: 'pem' })).export({ type: 'spki', format: 'der' });
let root: Authority;
let intermediate: Authority;

beforeAll(async () => {
  root = await authority('O=cluster.local');
  intermediate = await authority('O=intermediate', root);
});

async function leaf(
  signer: Authority,
  { uris = [SPIFFE], key: of = key, life = 600, from = -120, ca = false }: Leaf = {},
): Promise<string> {
  const publicKey = await crypto.subtle.importKey('spki', new Uint8Array(spki(of)), EC, true, ['verify']);
  const certificate = await X509CertificateGenerator.create({
    subject: '',
    issuer: signer.name,
    publicKey,
    signingKey: signer.keys.privateKey,
    signingAlgorithm: EC,
    notBefore: new Date((NOW + from) * 1000),
    notAfter: new Date((NOW + life) * 1000),
    extensions: [
      new BasicConstraintsExtension(ca),
      ...(uris.length > 0 ? [new SubjectAlternativeNameExtension(uris.map((value) => ({ type: 'url', value })))] : []),
    ],
  });
  return certificate.toString('pem');
}

const verify = (chain: readonly string[], roots = [root.pem]) =>
  verifyCertificate(chain, { spiffeId: SPIFFE, publicKey: spki(key), ttl: 600, roots, now: NOW });

describe('what the CA sends', () => {
  it('is handed on without its roots, in one piece', async () => {
    const chain = [await leaf(intermediate), intermediate.pem + root.pem];
    const verified = verify(chain);
    expect(verified).toMatchObject({ spiffeId: SPIFFE, notAfter: NOW + 600 });
    expect(verified.chain.match(/BEGIN CERTIFICATE/g)).toHaveLength(2);
  });

  it('is trusted while two roots are rotated', async () => {
    const next = await authority('O=cluster.local');
    expect(verify([await leaf(next), next.pem], [root.pem, next.pem]).spiffeId).toBe(SPIFFE);
  });

  const theirs = generateKeyPairSync('ec', { namedCurve: 'P-256' }).publicKey;
  it.each<[string, Leaf]>([
    ['another identity', { uris: ['spiffe://cluster.local/ns/shop/sa/orders'] }],
    ['two identities', { uris: [SPIFFE, 'spiffe://cluster.local/ns/shop/sa/orders'] }],
    ['no identity', { uris: [] }],
    ['another key', { key: theirs }],
    ['a longer life', { life: 24 * 3600 }],
    ['no life left', { life: -1 }],
    ['a life to come', { from: 300 }],
    ['the right to sign', { ca: true }],
  ])('is refused with %s', async (_, shape) => {
    const chain = [await leaf(root, shape), root.pem];
    expect(() => verify(chain)).toThrow(expect.objectContaining({ code: 'ca_unavailable' }));
  });

  it('is refused from a root that the mesh does not have, though it has its name', async () => {
    const forged = await authority('O=cluster.local');
    const chain = [await leaf(forged), forged.pem];
    expect(() => verify(chain)).toThrow('does not end in a mesh root');
  });

  it('is refused with a link missing, with nothing in it, and with garbage', async () => {
    const chain = [await leaf(intermediate)];
    expect(() => verify(chain)).toThrow('does not end in a mesh root');
    expect(() => verify([])).toThrow('empty');
    expect(() => verify(['-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----'])).toThrow('it is malformed');
  });
});
