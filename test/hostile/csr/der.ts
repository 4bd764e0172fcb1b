/** Certificate requests (PKCS#10, RFC 2986) written byte by byte, with any fault. */
import { type KeyObject, sign } from 'node:crypto';

export function tlv(tag: number, ...parts: readonly Buffer[]): Buffer {
  const value = Buffer.concat(parts);
  const { length } = value;
  if (length < 0x80) return Buffer.concat([Buffer.of(tag, length), value]);
  if (length < 0x100) return Buffer.concat([Buffer.of(tag, 0x81, length), value]);
  return Buffer.concat([Buffer.of(tag, 0x82, length >> 8, length & 0xff), value]);
}

export const sequence = (...parts: readonly Buffer[]): Buffer => tlv(0x30, ...parts);
const set = (...parts: readonly Buffer[]): Buffer => tlv(0x31, ...parts);
const utf8 = (text: string): Buffer => tlv(0x0c, Buffer.from(text));

/** Object identifiers, as DER. */
export const OID = {
  ecdsaSha256: Buffer.from('06082a8648ce3d040302', 'hex'),
  ecdsaSha1: Buffer.from('06072a8648ce3d0401', 'hex'),
  rsaSha256: Buffer.from('06092a864886f70d01010b', 'hex'),
  rsaMd5: Buffer.from('06092a864886f70d010104', 'hex'),
  commonName: Buffer.from('0603550403', 'hex'),
  organization: Buffer.from('060355040a', 'hex'),
  challengePassword: Buffer.from('06092a864886f70d010907', 'hex'),
  extensionRequest: Buffer.from('06092a864886f70d01090e', 'hex'),
  subjectAltName: Buffer.from('0603551d11', 'hex'),
  basicConstraints: Buffer.from('0603551d13', 'hex'),
  keyUsage: Buffer.from('0603551d0f', 'hex'),
  extendedKeyUsage: Buffer.from('0603551d25', 'hex'),
  codeSigning: Buffer.from('06082b06010505070303', 'hex'),
} as const;
const NULL = Buffer.from('0500', 'hex');

/** Names of a SubjectAltName (RFC 5280, section 4.2.1.6). */
export const uri = (value: string): Buffer => tlv(0x86, Buffer.from(value));
export const dns = (value: string): Buffer => tlv(0x82, Buffer.from(value));
export const email = (value: string): Buffer => tlv(0x81, Buffer.from(value));
export const ip = (...bytes: readonly number[]): Buffer => tlv(0x87, Buffer.from(bytes));

export function extension(oid: Buffer, value: Buffer): Buffer {
  return sequence(oid, tlv(0x01, Buffer.of(0xff)), tlv(0x04, value));
}

export const extensionRequest = (...extensions: readonly Buffer[]): Buffer =>
  sequence(OID.extensionRequest, set(sequence(...extensions)));
export const challenge = (password: string): Buffer => sequence(OID.challengePassword, set(utf8(password)));
export const name = (...parts: readonly (readonly [oid: Buffer, value: string])[]): Buffer =>
  sequence(...parts.map(([oid, value]) => set(sequence(oid, utf8(value)))));

export interface CsrParts {
  /** Signs; its public half is asked a certificate for, unless `spki` says another. */
  readonly keys: { readonly privateKey: KeyObject; readonly publicKey: KeyObject };
  readonly spki?: Buffer;
  readonly version?: number;
  readonly subject?: Buffer;
  readonly attributes?: readonly Buffer[];
  readonly digest?: string;
  /** Stated signature algorithm, which may be false. */
  readonly algorithm?: Buffer;
  readonly signature?: Buffer;
}

/** @returns DER */
export function csr(parts: CsrParts): Buffer {
  const { keys, version = 0, subject = sequence(), attributes = [] } = parts;
  const spki = parts.spki ?? keys.publicKey.export({ type: 'spki', format: 'der' });
  const info = sequence(tlv(0x02, Buffer.of(version)), subject, spki, tlv(0xa0, ...attributes));
  const type = keys.privateKey.asymmetricKeyType;
  const digest = type?.startsWith('ed') ? null : (parts.digest ?? 'sha256');
  const signature = parts.signature ?? sign(digest, info, keys.privateKey);
  const algorithm = parts.algorithm ?? (type === 'rsa' ? OID.rsaSha256 : OID.ecdsaSha256);
  const identifier = type === 'rsa' ? sequence(algorithm, NULL) : sequence(algorithm);
  return sequence(info, identifier, tlv(0x03, Buffer.of(0), signature));
}

export function pem(der: Buffer, label = 'CERTIFICATE REQUEST'): string {
  const lines = der.toString('base64').match(/.{1,64}/g) ?? [];
  return `-----BEGIN ${label}-----\n${lines.join('\n')}\n-----END ${label}-----\n`;
}
