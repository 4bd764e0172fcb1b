/** A self-signed TLS certificate for 127.0.0.1 and localhost, or a name, written where the broker reads it. */
import 'reflect-metadata';
import { webcrypto } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { SubjectAlternativeNameExtension, X509CertificateGenerator } from '@peculiar/x509';

export interface CertificateOptions {
  /** In place of localhost. */
  readonly name?: string;
  /** Milliseconds from now. */
  readonly from?: number;
  readonly until?: number;
}

export async function writeCertificate(
  dir: string,
  { name = 'localhost', from = -60_000, until = 86_400_000 }: CertificateOptions = {},
): Promise<{ certFile: string; keyFile: string; pem: string }> {
  const algorithm = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' };
  const keys = await webcrypto.subtle.generateKey(algorithm, true, ['sign', 'verify']);
  const certificate = await X509CertificateGenerator.createSelfSigned(
    {
      serialNumber: '01',
      name: 'CN=broker',
      notBefore: new Date(Date.now() + from),
      notAfter: new Date(Date.now() + until),
      signingAlgorithm: algorithm,
      keys,
      extensions: [
        new SubjectAlternativeNameExtension([
          { type: 'ip', value: '127.0.0.1' },
          { type: 'dns', value: name },
        ]),
      ],
    },
    webcrypto as Crypto,
  );
  const pem = certificate.toString('pem');
  const der = Buffer.from(await webcrypto.subtle.exportKey('pkcs8', keys.privateKey)).toString('base64');
  const certFile = join(dir, 'tls.crt');
  const keyFile = join(dir, 'tls.key');
  writeFileSync(certFile, pem);
  writeFileSync(keyFile, `-----BEGIN PRIVATE KEY-----\n${der}\n-----END PRIVATE KEY-----\n`, { mode: 0o600 });
  return { certFile, keyFile, pem };
}
