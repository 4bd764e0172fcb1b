/**
 * Looks at a certificate request before anything is done for it. Names and SANs in it mean nothing: istiod takes the
 * identity from the ServiceAccount token. What matters is that the sender holds the key, and that the key is strong.
 */
import 'reflect-metadata';
import { MeshpassError } from '@meshpass/identity';
import { Pkcs10CertificateRequest } from '@peculiar/x509';

export interface CheckedCsr {
  /** PEM, written anew: one block and nothing around it. */
  readonly pem: string;
  /** SubjectPublicKeyInfo, DER. */
  readonly publicKey: Buffer;
  /** `P-256`, `P-384`, `RSA-2048` ... */
  readonly key: string;
}

export const MAX_CSR_BYTES = 8 * 1024;
const MIN_RSA_BITS = 2048;
/** Verifying a signature of a longer key costs more than a stranger may make us spend. */
const MAX_RSA_BITS = 8192;
const CURVES: readonly unknown[] = ['P-256', 'P-384'];
const PEM = /^\s*-----BEGIN CERTIFICATE REQUEST-----\r?\n([A-Za-z0-9+/=\r\n]+)-----END CERTIFICATE REQUEST-----\s*$/;

/**
 * @param pem PKCS#10 (RFC 2986) in PEM (RFC 7468), at most 8 KiB, one block
 * @throws MeshpassError `csr_too_large`, `csr_malformed`, `csr_weak_key`, `csr_signature`
 */
export async function checkCsr(pem: string): Promise<CheckedCsr> {
  if (Buffer.byteLength(pem) > MAX_CSR_BYTES) {
    throw new MeshpassError('csr_too_large', `A certificate request may have ${MAX_CSR_BYTES} bytes at most.`);
  }
  const request = parse(pem);
  const publicKey = Buffer.from(request.publicKey.rawData);
  const key = strongKey(request);
  if (!(await proves(request))) {
    throw new MeshpassError('csr_signature', 'The certificate request is not signed by the key that it names.');
  }
  return { pem: request.toString('pem'), publicKey, key };
}

function parse(pem: string): Pkcs10CertificateRequest {
  const body = PEM.exec(pem)?.[1];
  try {
    if (body) return new Pkcs10CertificateRequest(Buffer.from(body, 'base64'));
  } catch (cause) {
    throw malformed(cause);
  }
  throw malformed();
}

interface KeyShape {
  readonly name: string;
  readonly namedCurve?: string;
  readonly modulusLength?: number;
  readonly publicExponent?: Uint8Array;
}

function strongKey(request: Pkcs10CertificateRequest): string {
  let algorithm: KeyShape;
  try {
    algorithm = request.publicKey.algorithm;
  } catch (cause) {
    throw malformed(cause);
  }
  const { namedCurve, modulusLength, publicExponent } = algorithm;
  if (algorithm.name === 'ECDSA' && CURVES.includes(namedCurve)) return namedCurve!;
  const rsa = algorithm.name === 'RSASSA-PKCS1-v1_5' && modulusLength !== undefined && publicExponent !== undefined;
  if (rsa && modulusLength >= MIN_RSA_BITS && modulusLength <= MAX_RSA_BITS && isF4(publicExponent)) {
    return `RSA-${modulusLength}`;
  }
  throw new MeshpassError(
    'csr_weak_key',
    'The key of a certificate request must be P-256, P-384, or RSA of 2048 bits or more.',
    {
      detail: { algorithm: algorithm.name, namedCurve, modulusLength },
    },
  );
}

/** 65537, the only exponent in use; small ones have a history of broken padding checks. */
function isF4(exponent: Uint8Array): boolean {
  return BigInt(`0x${Buffer.from(exponent).toString('hex') || '0'}`) === 65537n;
}

/** Proof of possession (RFC 2986 section 3, note 1). */
async function proves(request: Pkcs10CertificateRequest): Promise<boolean> {
  try {
    return await request.verify();
  } catch {
    return false; // a signature of another shape than the key's, or an algorithm that WebCrypto does not have
  }
}

function malformed(cause?: unknown): MeshpassError {
  return new MeshpassError('csr_malformed', 'This is not a PKCS#10 certificate request in PEM.', { cause });
}
