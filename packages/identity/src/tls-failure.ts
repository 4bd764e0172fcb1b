/** Explains why TLS handshakes with the broker or an edge failed. Node.js reports these failures as OpenSSL codes. */

export interface TlsFailure {
  /** The problem with the certificate, phrased as the end of a sentence whose subject is the server. */
  readonly what: string;
  /** The next step for the user of the workspace, as a full sentence. */
  readonly next: string;
}

const UNTRUSTED: TlsFailure = {
  what: 'its certificate is not trusted here',
  next: 'If your own CA issued it, pass the CA certificate with --ca-file. If a proxy issued it, exempt the broker and the edge from TLS inspection.',
};
const FAILURES: Readonly<Record<string, TlsFailure>> = {
  CERT_HAS_EXPIRED: {
    what: 'its certificate has expired',
    next: "Ask your platform team to renew it. If other machines accept it, correct this machine's clock.",
  },
  CERT_NOT_YET_VALID: {
    what: 'its certificate is not valid yet',
    next: "Check this machine's clock. If it is right, notify your platform team.",
  },
  ERR_TLS_CERT_ALTNAME_INVALID: {
    what: 'its certificate is for another name',
    next: 'Notify your platform team: the name resolves to another server, or the wrong certificate is installed.',
  },
  DEPTH_ZERO_SELF_SIGNED_CERT: UNTRUSTED,
  SELF_SIGNED_CERT_IN_CHAIN: UNTRUSTED,
  UNABLE_TO_GET_ISSUER_CERT: UNTRUSTED,
  UNABLE_TO_GET_ISSUER_CERT_LOCALLY: UNTRUSTED,
  UNABLE_TO_VERIFY_LEAF_SIGNATURE: UNTRUSTED,
};

/**
 * Explains why a certificate was rejected.
 * @param cause the connection error, or its code
 * @returns the explanation, or undefined if no certificate was rejected
 */
export function tlsFailure(cause: unknown): TlsFailure | undefined {
  const code = typeof cause === 'string' ? cause : (cause as { readonly code?: unknown } | null | undefined)?.code;
  return typeof code === 'string' && Object.hasOwn(FAILURES, code) ? FAILURES[code] : undefined;
}
