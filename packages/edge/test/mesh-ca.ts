/** CA of the mesh and of the edge's own web certificate: real certificates with real keys. */
import 'reflect-metadata';
import { webcrypto } from 'node:crypto';
import * as x509 from '@peculiar/x509';

x509.cryptoProvider.set(webcrypto as unknown as Crypto);
const EC = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' };

export interface Credential {
  readonly cert: string;
  readonly key: string;
}

export interface Ca {
  readonly root: string;
  issue(options: {
    readonly san: readonly { readonly type: 'url' | 'dns' | 'ip'; readonly value: string }[];
    /** Unix ms; by default valid from a minute ago for ten minutes. */
    readonly notBefore?: number;
    readonly notAfter?: number;
    readonly ca?: boolean;
  }): Promise<Credential>;
}

export async function createCa(name: string): Promise<Ca> {
  const keys = (await webcrypto.subtle.generateKey(EC, true, ['sign', 'verify'])) as webcrypto.CryptoKeyPair;
  const root = await x509.X509CertificateGenerator.createSelfSigned({
    name: `O=${name}`,
    keys,
    notBefore: new Date(Date.now() - 3_600_000),
    notAfter: new Date(Date.now() + 86_400_000),
    signingAlgorithm: EC,
    extensions: [
      new x509.BasicConstraintsExtension(true, undefined, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.keyCertSign | x509.KeyUsageFlags.cRLSign, true),
      await x509.SubjectKeyIdentifierExtension.create(keys.publicKey),
    ],
  });
  return {
    root: root.toString('pem'),
    async issue(options) {
      const leaf = (await webcrypto.subtle.generateKey(EC, true, ['sign', 'verify'])) as webcrypto.CryptoKeyPair;
      const certificate = await x509.X509CertificateGenerator.create({
        subject: '',
        issuer: root.subject,
        notBefore: new Date(options.notBefore ?? Date.now() - 60_000),
        notAfter: new Date(options.notAfter ?? Date.now() + 600_000),
        signingKey: keys.privateKey,
        publicKey: leaf.publicKey,
        signingAlgorithm: EC,
        extensions: [
          new x509.BasicConstraintsExtension(options.ca ?? false, undefined, true),
          new x509.KeyUsagesExtension(
            x509.KeyUsageFlags.digitalSignature | (options.ca ? x509.KeyUsageFlags.keyCertSign : 0),
            true,
          ),
          new x509.ExtendedKeyUsageExtension([x509.ExtendedKeyUsage.clientAuth, x509.ExtendedKeyUsage.serverAuth]),
          ...(options.san.length > 0 ? [new x509.SubjectAlternativeNameExtension([...options.san], true)] : []),
        ],
      });
      const pkcs8 = Buffer.from(await webcrypto.subtle.exportKey('pkcs8', leaf.privateKey)).toString('base64');
      const key = `-----BEGIN PRIVATE KEY-----\n${pkcs8.replace(/.{64}/g, '$&\n')}\n-----END PRIVATE KEY-----\n`;
      return { cert: certificate.toString('pem'), key };
    },
  };
}

export function svid(ca: Ca, spiffeId: string, dates: { notBefore?: number; notAfter?: number } = {}) {
  return ca.issue({ san: [{ type: 'url', value: spiffeId }], ...dates });
}
