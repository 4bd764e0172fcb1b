/** Why a TLS handshake with broker or edge failed, for people: Node says it with a code of OpenSSL. */

export interface TlsFailure {
  /** What is wrong with the certificate, as the end of a sentence about whoever shows it. */
  readonly what: string;
  /** For whoever works in the workspace, as a sentence. */
  readonly next: string;
}

const UNTRUSTED: TlsFailure = {
  what: 'its certificate is not trusted here',
  next: 'If that is your own CA, give its certificate with --ca-file. If it is of a proxy, have broker and edge exempted from its inspection.',
};
const FAILURES: Readonly<Record<string, TlsFailure>> = {
  CERT_HAS_EXPIRED: {
    what: 'its certificate has expired',
    next: 'Tell your platform team, who must renew it; if it is good elsewhere, the clock here is wrong.',
  },
  CERT_NOT_YET_VALID: {
    what: 'its certificate is not valid yet',
    next: 'Check the clock here; if it is right, tell your platform team.',
  },
  ERR_TLS_CERT_ALTNAME_INVALID: {
    what: 'its certificate is for another name',
    next: 'Tell your platform team: the name leads elsewhere, or another certificate is installed.',
  },
  DEPTH_ZERO_SELF_SIGNED_CERT: UNTRUSTED,
  SELF_SIGNED_CERT_IN_CHAIN: UNTRUSTED,
  UNABLE_TO_GET_ISSUER_CERT: UNTRUSTED,
  UNABLE_TO_GET_ISSUER_CERT_LOCALLY: UNTRUSTED,
  UNABLE_TO_VERIFY_LEAF_SIGNATURE: UNTRUSTED,
};

/** @param cause what the connection threw, or its code. @returns undefined where no certificate was refused */
export function tlsFailure(cause: unknown): TlsFailure | undefined {
  const code = typeof cause === 'string' ? cause : (cause as { readonly code?: unknown } | null | undefined)?.code;
  return typeof code === 'string' && Object.hasOwn(FAILURES, code) ? FAILURES[code] : undefined;
}
