/** TLS contexts for the two layers of a tunnel. TLS 1.3 only; AES-128-GCM first, the cheapest where the CPU has AES. */
import { createSecureContext, type SecureContext } from 'node:tls';

const CIPHERS = 'TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256';

export interface SecureContextInput {
  /** PEM, leaf first. */
  readonly chain: string;
  /** PEM, PKCS#8. */
  readonly privateKey: string;
  /** PEM roots the server is verified with; undefined: Node's own roots (and NODE_EXTRA_CA_CERTS). */
  readonly roots: readonly string[] | undefined;
}

export function tlsContext(input: SecureContextInput): SecureContext {
  return createSecureContext({
    cert: input.chain,
    key: input.privateKey,
    ...(input.roots ? { ca: [...input.roots] } : {}),
    minVersion: 'TLSv1.3',
    ciphers: CIPHERS,
  });
}
