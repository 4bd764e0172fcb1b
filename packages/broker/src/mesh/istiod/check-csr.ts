/**
 * Checks a certificate request before any further work. Its names and SANs are irrelevant, because istiod takes the
 * identity from the ServiceAccount token. The sender must have the key, and the key must be strong.
 */
import 'reflect-metadata';
import { createPublicKey } from 'node:crypto';
import { MeshpassError } from '@meshpass/identity';
import { Pkcs10CertificateRequest } from '@peculiar/x509';
import { derElements } from './der.ts';

export interface CheckedCsr {
  /** PEM, re-encoded as a single block. */
  readonly pem: string;
  /** SubjectPublicKeyInfo, DER. */
  readonly publicKey: Buffer;
  /** `P-256`, `P-384`, `RSA-2048` ... */
  readonly key: string;
}

export const MAX_CSR_BYTES = 8 * 1024;
const MIN_RSA_BITS = 2048;
/** Maximum key size. Verifying a signature by a longer key costs more than an unauthenticated client may cause. */
const MAX_RSA_BITS = 8192;
const CURVES: readonly unknown[] = ['P-256', 'P-384'];
const HASHES: readonly unknown[] = ['SHA-256', 'SHA-384', 'SHA-512'];
const PEM = /^\s*-----BEGIN CERTIFICATE REQUEST-----\r?\n([A-Za-z0-9+/=\r\n]+)-----END CERTIFICATE REQUEST-----\s*$/;

/**
 * Checks a request.
 * @param pem PKCS#10 (RFC 2986) in PEM (RFC 7468), at most 8 KiB, one block
 * @throws MeshpassError `csr_too_large`, `csr_malformed`, `csr_weak_key`, `csr_signature`
 */
export async function checkCsr(pem: string): Promise<CheckedCsr> {
  if (Buffer.byteLength(pem) > MAX_CSR_BYTES) {
    throw new MeshpassError('csr_too_large', `A certificate request must not exceed ${MAX_CSR_BYTES} bytes.`);
  }
  const request = parse(pem);
  const publicKey = Buffer.from(request.publicKey.rawData);
  const key = strongKey(request);
  if (!HASHES.includes(hashOf(request))) {
    throw new MeshpassError('csr_signature', 'A certificate request must be signed with SHA-256, SHA-384 or SHA-512.');
  }
  if (!(await proves(request))) {
    throw new MeshpassError('csr_signature', 'The certificate request is not signed with its own key.');
  }
  return { pem: request.toString('pem'), publicKey, key };
}

function parse(pem: string): Pkcs10CertificateRequest {
  const body = PEM.exec(pem)?.[1];
  try {
    const der = body && Buffer.from(body, 'base64');
    // The library also accepts BER, trailing bytes and PEM, which istiod could read differently from the request
    // checked here.
    if (der && isRequest(der)) return new Pkcs10CertificateRequest(der);
  } catch (cause) {
    throw malformed(cause);
  }
  throw malformed();
}

const SEQUENCE = 0x30;
const INTEGER = 0x02;

/** Whether this is one SEQUENCE in DER whose information has version 0, the only one (RFC 2986 section 4.1). */
function isRequest(der: Buffer): boolean {
  const outer = derElements(der);
  if (outer?.length !== 1 || outer[0]!.tag !== SEQUENCE) return false;
  const [info] = derElements(outer[0]!.content) ?? [];
  const [version] = (info && derElements(info.content)) ?? [];
  return version?.tag === INTEGER && version.content.equals(Buffer.of(0));
}

interface KeyShape {
  readonly name: string;
  readonly namedCurve?: string;
  readonly modulusLength?: number;
  readonly publicExponent?: Uint8Array;
}

function strongKey(request: Pkcs10CertificateRequest): string {
  let algorithm: KeyShape;
  let modulusLength: number | undefined;
  try {
    algorithm = request.publicKey.algorithm;
    if (algorithm.modulusLength !== undefined) modulusLength = exactBits(request);
  } catch (cause) {
    throw malformed(cause);
  }
  const { namedCurve, publicExponent } = algorithm;
  if (algorithm.name === 'ECDSA' && CURVES.includes(namedCurve)) return namedCurve!;
  const bits = algorithm.name === 'RSASSA-PKCS1-v1_5' ? modulusLength : undefined;
  if (bits !== undefined && bits >= MIN_RSA_BITS && bits <= MAX_RSA_BITS && publicExponent && isF4(publicExponent)) {
    return `RSA-${bits}`;
  }
  throw new MeshpassError(
    'csr_weak_key',
    'The certificate request key must be P-256, P-384, or RSA with at least 2048 bits.',
    {
      detail: { algorithm: algorithm.name, namedCurve, modulusLength },
    },
  );
}

/** Returns the exact size of an RSA key, which the library rounds up to whole bytes. */
function exactBits(request: Pkcs10CertificateRequest): number | undefined {
  const key = createPublicKey({ key: Buffer.from(request.publicKey.rawData), type: 'spki', format: 'der' });
  return key.asymmetricKeyDetails?.modulusLength;
}

function hashOf(request: Pkcs10CertificateRequest): string | undefined {
  const { hash } = request.signatureAlgorithm as { readonly hash?: { readonly name?: string } | string };
  return typeof hash === 'string' ? hash : hash?.name;
}

/** Whether the exponent is 65537, the only one in use. Padding checks have a history of failing for small exponents. */
function isF4(exponent: Uint8Array): boolean {
  return BigInt(`0x${Buffer.from(exponent).toString('hex') || '0'}`) === 65537n;
}

/** Verifies proof of possession (RFC 2986 section 3, note 1). */
async function proves(request: Pkcs10CertificateRequest): Promise<boolean> {
  try {
    return await request.verify();
  } catch {
    return false; // the signature does not fit the key, or WebCrypto lacks the algorithm
  }
}

function malformed(cause?: unknown): MeshpassError {
  return new MeshpassError('csr_malformed', 'This is not a PEM-encoded PKCS#10 certificate request.', { cause });
}
