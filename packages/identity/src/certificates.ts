/** Creates certificate requests, and reads the validity periods of certificates. */
import { createPublicKey, type KeyObject, sign, X509Certificate } from 'node:crypto';

const ECDSA_WITH_SHA256 = Buffer.from('300a06082a8648ce3d040302', 'hex'); // AlgorithmIdentifier, RFC 5758 section 3.2
const VERSION_0 = Buffer.from('020100', 'hex');
const EMPTY_NAME = Buffer.from('3000', 'hex');
const NO_ATTRIBUTES = Buffer.from('a000', 'hex');

/**
 * Creates a PKCS#10 certificate request (RFC 2986) for a P-256 key, with an empty subject and no attributes. istiod
 * reads the SPIFFE id from the ServiceAccount token and never from the CSR, so no other content is needed. The encoder
 * is written by hand because the agent must start in milliseconds, and loading an ASN.1 library takes a tenth of a
 * second.
 * @param privateKey the key to be certified, which also signs the CSR
 * @returns the CSR in PEM
 */
export function createCsr(privateKey: KeyObject): string {
  const publicKey = createPublicKey(privateKey).export({ type: 'spki', format: 'der' });
  const info = sequence(VERSION_0, EMPTY_NAME, publicKey, NO_ATTRIBUTES);
  const signature = sign('sha256', info, privateKey);
  const request = sequence(info, ECDSA_WITH_SHA256, tlv(0x03, Buffer.concat([Buffer.of(0), signature])));
  const lines = request.toString('base64').match(/.{1,64}/g)!;
  return `-----BEGIN CERTIFICATE REQUEST-----\n${lines.join('\n')}\n-----END CERTIFICATE REQUEST-----\n`;
}

/** The validity period of a certificate, in Unix seconds. */
export interface CertificateValidity {
  readonly notBefore: number;
  readonly notAfter: number;
}

/**
 * Reads the validity period of a certificate.
 * @param certificate the parsed certificate, or PEM. Only the first certificate in a PEM chain is read, because a later
 *   one, such as a cross-signed root, may expire earlier without any consequences
 * @throws Error from Node.js if the text does not contain a certificate
 */
export function certificateValidity(certificate: X509Certificate | string | Buffer): CertificateValidity {
  const { validFromDate, validToDate } =
    certificate instanceof X509Certificate ? certificate : new X509Certificate(certificate);
  return { notBefore: validFromDate.getTime() / 1000, notAfter: validToDate.getTime() / 1000 };
}

function sequence(...parts: readonly Buffer[]): Buffer {
  return tlv(0x30, Buffer.concat(parts));
}

function tlv(tag: number, value: Buffer): Buffer {
  const length = value.length;
  if (length < 0x80) return Buffer.concat([Buffer.of(tag, length), value]);
  if (length < 0x100) return Buffer.concat([Buffer.of(tag, 0x81, length), value]);
  return Buffer.concat([Buffer.of(tag, 0x82, length >> 8, length & 0xff), value]);
}
