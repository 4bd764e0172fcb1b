/** Certificates of the mesh's own authority for any SPIFFE id, and tokens of issuers that exist only here. */
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import * as x509 from '@peculiar/x509';
import { exportJWK, generateKeyPair, SignJWT } from 'jose';

export interface Identity {
  readonly key: string;
  readonly cert: string;
}

const RSA = { name: 'RSASSA-PKCS1-v1_5', hash: 'SHA-256' };
const EC = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' };
const HOUR_MS = 60 * 60 * 1000;

/** Signs with the key that the lab's istiod signs with. @param dir state directory of the lab */
export async function identityMaker(dir: string): Promise<(principal: string) => Promise<Identity>> {
  const ca = new x509.X509Certificate(readFileSync(join(dir, 'ca/ca-cert.pem'), 'utf8'));
  const der = x509.PemConverter.decodeFirst(readFileSync(join(dir, 'ca/ca-key.pem'), 'utf8'));
  const signingKey = await crypto.subtle.importKey('pkcs8', der, RSA, false, ['sign']);
  const keys = (await crypto.subtle.generateKey(EC, true, ['sign', 'verify'])) as {
    readonly publicKey: CryptoKey;
    readonly privateKey: CryptoKey;
  };
  const key = x509.PemConverter.encode(await crypto.subtle.exportKey('pkcs8', keys.privateKey), 'PRIVATE KEY');
  return async (principal) => {
    const certificate = await x509.X509CertificateGenerator.create({
      issuer: ca.subject,
      notBefore: new Date(Date.now() - HOUR_MS),
      notAfter: new Date(Date.now() + 12 * HOUR_MS),
      signingAlgorithm: RSA,
      publicKey: keys.publicKey,
      signingKey,
      serialNumber: createHash('sha256').update(principal).digest('hex').slice(0, 16),
      extensions: [
        new x509.ExtendedKeyUsageExtension([x509.ExtendedKeyUsage.clientAuth]),
        new x509.SubjectAlternativeNameExtension([{ type: 'url', value: `spiffe://${principal}` }], true),
      ],
    });
    return { key, cert: `${certificate.toString('pem')}\n${ca.toString('pem')}` };
  };
}

export interface Issuer {
  readonly name: string;
  readonly jwks: string;
  readonly sign: (claims: Readonly<Record<string, unknown>>) => Promise<string>;
}

export async function makeIssuer(name: string): Promise<Issuer> {
  const { publicKey, privateKey } = await generateKeyPair('RS256', { extractable: true });
  const kid = createHash('sha256').update(name).digest('hex').slice(0, 8);
  const jwk = { ...(await exportJWK(publicKey)), kid, alg: 'RS256', use: 'sig' };
  return {
    name,
    jwks: JSON.stringify({ keys: [jwk] }),
    sign: (claims) => new SignJWT({ ...claims }).setProtectedHeader({ alg: 'RS256', kid, typ: 'JWT' }).sign(privateKey),
  };
}
