/**
 * Checks a certificate request before any other work is done for it. The names and SANs in the request are irrelevant,
 * because istiod takes the identity from the ServiceAccount token. However, the sender must possess the private key,
 * and the key must be strong.
 */
import { createPublicKey, type KeyObject, verify } from 'node:crypto';
import { promisify } from 'node:util';
import { MeshpassError } from '@meshpass/identity';

/** A certificate request whose sender has proved that they possess a strong private key. */
export type CheckedCsr = Awaited<ReturnType<typeof checkCsr>>;

const MAX_CSR_BYTES = 8 * 1024;
const MIN_RSA_BITS = 2048;
/**
 * The maximum RSA key size. Verifying a signature with a larger key would take more CPU time than an unauthenticated
 * client may use.
 */
const MAX_RSA_BITS = 8192;
/**
 * The only RSA exponent that is accepted. Others are not used in practice, and small exponents have often led to
 * vulnerabilities in padding checks.
 */
const F4 = 65537n;
/** Maps the OpenSSL names of the accepted curves to their usual names. */
const CURVES: Partial<Record<string, string>> = { prime256v1: 'P-256', secp384r1: 'P-384' };
/** The DER prefix (in hex) of a public key with an uncompressed point, by OpenSSL curve name (RFC 5480 section 2). */
const POINTS: Partial<Record<string, string>> = {
  prime256v1: '3059301306072a8648ce3d020106082a8648ce3d03010703420004',
  secp384r1: '3076301006072a8648ce3d020106052b8104002203620004',
};
/**
 * Maps key types and signature algorithms (DER in hex) to hash functions (RFC 5758 section 3.2, RFC 4055 section 5).
 */
const HASHES: Partial<Record<string, Partial<Record<string, string>>>> = {
  ec: {
    '300a06082a8648ce3d040302': 'sha256',
    '300a06082a8648ce3d040303': 'sha384',
    '300a06082a8648ce3d040304': 'sha512',
  },
  rsa: {
    '300d06092a864886f70d01010b0500': 'sha256',
    '300d06092a864886f70d01010c0500': 'sha384',
    '300d06092a864886f70d01010d0500': 'sha512',
  },
};
const PEM = /^\s*-----BEGIN CERTIFICATE REQUEST-----\r?\n([A-Za-z0-9+/=\r\n]+)-----END CERTIFICATE REQUEST-----\s*$/;

/**
 * Checks a certificate request, including its signature.
 * @param pem a PKCS#10 request (RFC 2986) as a single PEM block (RFC 7468) of at most 8 KiB
 * @throws MeshpassError `csr_too_large`, `csr_malformed`, `csr_weak_key`, `csr_signature`
 */
export async function checkCsr(pem: string) {
  if (Buffer.byteLength(pem) > MAX_CSR_BYTES) {
    throw new MeshpassError('csr_too_large', `A certificate request must not exceed ${MAX_CSR_BYTES} bytes.`);
  }
  const der = Buffer.from(PEM.exec(pem)?.[1] ?? '', 'base64');
  const request = readRequest(der);
  const publicKey = request && readKey(request.publicKey);
  if (!request || !publicKey) {
    throw new MeshpassError('csr_malformed', 'This is not a PEM-encoded PKCS#10 certificate request.');
  }
  const key = strongKey(publicKey);
  const hash = HASHES[publicKey.asymmetricKeyType!]?.[request.algorithm];
  if (!hash) {
    throw new MeshpassError('csr_signature', 'A certificate request must be signed with SHA-256, SHA-384 or SHA-512.');
  }
  // The signature proves that the sender possesses the private key (RFC 2986 section 3, note 1).
  if (!(await promisify(verify)(hash, request.info, publicKey, request.signature))) {
    throw new MeshpassError('csr_signature', 'The certificate request is not signed with its own key.');
  }
  const lines = der.toString('base64').match(/.{1,64}/g)!;
  const block = ['-----BEGIN CERTIFICATE REQUEST-----', ...lines, '-----END CERTIFICATE REQUEST-----'].join('\n');
  return {
    /** The certificate request, re-encoded as a single PEM block. */
    pem: block,
    /** The SubjectPublicKeyInfo in DER format. */
    publicKey: request.publicKey,
    /** The type of the key, such as `P-256`, `P-384` or `RSA-2048`. */
    key,
  };
}

const SEQUENCE = 0x30;
const INTEGER = 0x02;
const BIT_STRING = 0x03;

/**
 * Splits a request into its parts. Its version must be 0, because that is the only version that exists (RFC 2986
 * section 4).
 */
function readRequest(der: Buffer) {
  const [outer, ...rest] = parseDerElements(der) ?? [];
  if (outer?.tag !== SEQUENCE || rest.length > 0) return undefined;
  const [info, algorithm, signature, ...more] = parseDerElements(outer.content) ?? [];
  if (info?.tag !== SEQUENCE || signature?.tag !== BIT_STRING || more.length > 0) return undefined;
  if (signature.content[0] !== 0) return undefined;
  const [version, , publicKey] = parseDerElements(info.content) ?? [];
  if (version?.tag !== INTEGER || !version.content.equals(Buffer.of(0)) || !publicKey) return undefined;
  return {
    info: info.bytes,
    publicKey: publicKey.bytes,
    algorithm: algorithm!.bytes.toString('hex'),
    // The first byte of a BIT STRING contains the number of unused bits.
    signature: signature.content.subarray(1),
  };
}

/**
 * Reads a public key, or returns undefined if the key is not in its usual encoding. For the accepted curves, the curve
 * must be identified by name and the point must be uncompressed. Other kinds of keys are returned unchanged and
 * rejected as weak later. Only RSA keys are exported: exporting a point at infinity fails, and OpenSSL's error would
 * then terminate the next TLS connection that is read.
 */
function readKey(spki: Buffer): KeyObject | undefined {
  try {
    const key = createPublicKey({ key: spki, type: 'spki', format: 'der' });
    const point = POINTS[key.asymmetricKeyDetails?.namedCurve ?? ''];
    const isUsual =
      point !== undefined
        ? spki.toString('hex').startsWith(point)
        : key.asymmetricKeyType !== 'rsa' || key.export({ type: 'spki', format: 'der' }).equals(spki);
    return isUsual ? key : undefined;
  } catch {
    return undefined;
  }
}

function strongKey({ asymmetricKeyType, asymmetricKeyDetails = {} }: KeyObject): string {
  const { namedCurve = '', modulusLength = 0, publicExponent } = asymmetricKeyDetails;
  const curve = asymmetricKeyType === 'ec' ? CURVES[namedCurve] : undefined;
  if (curve) return curve;
  const isSized = modulusLength >= MIN_RSA_BITS && modulusLength <= MAX_RSA_BITS;
  if (asymmetricKeyType === 'rsa' && isSized && publicExponent === F4) return `RSA-${modulusLength}`;
  throw new MeshpassError(
    'csr_weak_key',
    'The certificate request key must be P-256, P-384, or RSA with at least 2048 bits.',
    { detail: { algorithm: asymmetricKeyType, namedCurve, modulusLength } },
  );
}

interface DerElement {
  readonly tag: number;
  readonly content: Buffer;
  /** The complete element, consisting of tag, length and content. */
  readonly bytes: Buffer;
}

/** The maximum nesting depth. A certificate request only needs eight levels. */
const DEEPEST = 16;
const CONSTRUCTED = 0x20;
/**
 * Indicates that the tag number does not fit into five bits and follows in separate bytes. Certificate requests never
 * contain such tags.
 */
const LONG_TAG = 0x1f;

/**
 * Splits bytes into consecutive DER elements. Rejects any encoding that different parsers could interpret in different
 * ways: all lengths, including those of nested elements, must be definite and minimal (X.690 section 10.1). Elements
 * must not be nested more than 16 levels deep.
 * @returns the elements, or undefined if the bytes violate any of these rules
 */
export function parseDerElements(bytes: Buffer, depth = 0): readonly DerElement[] | undefined {
  if (depth > DEEPEST) return undefined;
  const found: DerElement[] = [];
  let at = 0;
  while (at < bytes.length) {
    const tag = bytes[at]!;
    const header = (tag & LONG_TAG) === LONG_TAG ? undefined : readLength(bytes, at + 1);
    if (!header || header.start + header.length > bytes.length) return undefined;
    const content = bytes.subarray(header.start, header.start + header.length);
    if ((tag & CONSTRUCTED) !== 0 && !parseDerElements(content, depth + 1)) return undefined;
    const end = header.start + header.length;
    found.push({ tag, content, bytes: bytes.subarray(at, end) });
    at = end;
  }
  return found;
}

function readLength(bytes: Buffer, at: number): { readonly start: number; readonly length: number } | undefined {
  const first = bytes[at];
  if (first === undefined) return undefined;
  if (first < 0x80) return { start: at + 1, length: first };
  const count = first & 0x7f;
  if (count === 0 || count > 3 || at + 1 + count > bytes.length) return undefined;
  const length = bytes.readUIntBE(at + 1, count);
  const shortest = length < 0x80 ? 0 : Math.ceil((32 - Math.clz32(length)) / 8);
  return count === shortest ? { start: at + 1 + count, length } : undefined;
}
