/** Certificates of the `.test` names for a cluster, with any lifetime, from the authority that its Codespaces trust. */
import 'reflect-metadata';
import { createPrivateKey, webcrypto } from 'node:crypto';
import { mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Cluster } from '@meshpass/lab/cluster';
import * as x509 from '@peculiar/x509';

export interface Pair {
  readonly certFile: string;
  readonly keyFile: string;
  /** Unix seconds. */
  readonly notAfter: number;
}

const EC = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' };
const DAY_MS = 86_400_000;

/** @param days until it expires, from now; negative: it has expired */
export async function issue(cluster: Cluster, name: string, days: number): Promise<Pair> {
  const tls = (file: string) => readFileSync(join(cluster.dir, 'tls', file), 'utf8');
  const authority = new x509.X509Certificate(tls('ca.crt'));
  const der = createPrivateKey(tls('ca.key')).export({ type: 'pkcs8', format: 'der' });
  const signingKey = await webcrypto.subtle.importKey('pkcs8', new Uint8Array(der), EC, false, ['sign']);
  const keys = await webcrypto.subtle.generateKey(EC, true, ['sign', 'verify']);
  // Whole seconds, as a certificate has them.
  const notAfter = Math.floor((Date.now() + days * DAY_MS) / 1000);
  const certificate = await x509.X509CertificateGenerator.create(
    {
      subject: `CN=${name}`,
      issuer: authority.subject,
      signingAlgorithm: EC,
      notBefore: new Date((notAfter - 90 * 86_400) * 1000),
      notAfter: new Date(notAfter * 1000),
      publicKey: keys.publicKey,
      signingKey,
      extensions: [
        new x509.BasicConstraintsExtension(false),
        new x509.ExtendedKeyUsageExtension([x509.ExtendedKeyUsage.serverAuth]),
        new x509.SubjectAlternativeNameExtension([{ type: 'dns', value: name }]),
        await x509.AuthorityKeyIdentifierExtension.create(authority),
      ],
    },
    webcrypto as Crypto,
  );
  const folder = mkdtempSync(join(tmpdir(), 'meshpass-certificate-'));
  const [certFile, keyFile] = [join(folder, 'tls.crt'), join(folder, 'tls.key')];
  writeFileSync(certFile, certificate.toString('pem'));
  const key = Buffer.from(await webcrypto.subtle.exportKey('pkcs8', keys.privateKey)).toString('base64');
  writeFileSync(keyFile, `-----BEGIN PRIVATE KEY-----\n${key}\n-----END PRIVATE KEY-----\n`, { mode: 0o600 });
  return { certFile, keyFile, notAfter };
}
