/** Verifies certificates from the mesh CA before they are used. */

import { createHash, X509Certificate } from 'node:crypto';
import { MeshpassError, spiffeIdFromSan } from '@meshpass/identity';
import { toUnixSeconds } from '../../base/index.ts';

export type SignedCertificate = ReturnType<typeof verifyCertificate>;

export interface ExpectedCertificate {
  readonly spiffeId: string;
  /** The SubjectPublicKeyInfo from the CSR, in DER format. */
  readonly publicKey: Buffer;
  /** The requested lifetime in seconds. */
  readonly ttl: number;
  /** The root certificates of the mesh in PEM format. */
  readonly roots: readonly string[];
  /** The current time in Unix seconds. */
  readonly now: number;
}

/** The tolerated clock skew. istiod backdates certificates by two minutes anyway. */
const CLOCK_SLACK_SECONDS = 60;

/**
 * Verifies a certificate chain from the mesh CA.
 * @param chain the PEM blocks from the CA, starting with the leaf
 * @returns the chain without any roots, because peers only trust their own roots
 * @throws MeshpassError `ca_unavailable` if the key or the identity is not the expected one, the lifetime is too long,
 *   the leaf is a CA certificate, or the chain does not end in a mesh root
 */
export function verifyCertificate(chain: readonly string[], expected: ExpectedCertificate) {
  const all = readPem(chain);
  const path = all.filter((certificate, index) => index === 0 || !isSelfSigned(certificate));
  const [leaf] = path;
  if (!leaf) throw refuse('it is empty', {});
  if (leaf.ca) throw refuse('it is a CA certificate', {});
  const spiffeId = spiffeIdFromSan(leaf.subjectAltName);
  if (spiffeId !== expected.spiffeId) throw refuse('it belongs to a different identity', { got: leaf.subjectAltName });
  if (!leaf.publicKey.export({ type: 'spki', format: 'der' }).equals(expected.publicKey)) {
    throw refuse('it was issued for a different key', {});
  }
  const notBefore = toUnixSeconds(leaf.validFromDate);
  const notAfter = toUnixSeconds(leaf.validToDate);
  if (notAfter <= expected.now || notBefore > expected.now + CLOCK_SLACK_SECONDS) {
    throw refuse('it is not currently valid', { notBefore, notAfter });
  }
  if (notAfter > expected.now + expected.ttl + CLOCK_SLACK_SECONDS) {
    throw refuse('its lifetime is longer than requested', { notAfter, ttl: expected.ttl });
  }
  const root = rootOf(path, readPem(expected.roots));
  return {
    spiffeId,
    /** The chain in PEM format, starting with the leaf and without any roots. */
    chain: path.map((certificate) => certificate.toString()).join(''),
    /** When the certificate becomes valid, in Unix seconds. */
    notBefore,
    notAfter,
    /** The SHA-256 fingerprint (in hex) of the root that the chain leads to. */
    root: fingerprint(root),
  };
}

/** Returns the SHA-256 fingerprint of a certificate in hex. */
export function fingerprint(certificate: X509Certificate): string {
  return createHash('sha256').update(certificate.raw).digest('hex');
}

function rootOf(path: readonly X509Certificate[], roots: readonly X509Certificate[]): X509Certificate {
  return path.reduce<X509Certificate | undefined>((_, certificate, index) => {
    const next = path[index + 1];
    const issuers = next ? [next] : roots;
    const issued = issuers.find((issuer) => certificate.checkIssued(issuer) && certificate.verify(issuer.publicKey));
    if (issued) return issued;
    throw refuse('its chain does not end in a mesh root', { certificate: index, issuer: certificate.issuer });
  }, undefined)!;
}

function readPem(texts: readonly string[]): readonly X509Certificate[] {
  try {
    return texts.flatMap(parseCertificates);
  } catch (cause) {
    throw refuse('it is malformed', {}, cause);
  }
}

/**
 * Parses all certificates in a PEM text.
 * @throws Error if a block is not a certificate
 */
export function parseCertificates(text: string): readonly X509Certificate[] {
  const blocks = text.match(/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g) ?? [];
  return blocks.map((block) => new X509Certificate(block));
}

function isSelfSigned(certificate: X509Certificate): boolean {
  return certificate.checkIssued(certificate) && certificate.verify(certificate.publicKey);
}

function refuse(why: string, detail: Readonly<Record<string, unknown>>, cause?: unknown): MeshpassError {
  const message = `The broker rejected a certificate from the mesh CA: ${why}.`;
  return new MeshpassError('ca_unavailable', message, {
    ...(cause !== undefined && { cause }),
    detail: { refused: why, ...detail },
  });
}
