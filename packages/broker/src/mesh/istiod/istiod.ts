/**
 * A client for istiod's certificate service (port 15012), which is a gRPC service over HTTP/2. Calls are authenticated
 * with a ServiceAccount token for the audience `istio-ca`. The client never presents an SVID as its own certificate,
 * because istiod would renew that SVID even after its ServiceAccount has been deleted.
 */
import { Code, ConnectError, createClient } from '@connectrpc/connect';
import { MeshpassError } from '@meshpass/identity';
import { type IstiodOptions, openIstiodConnection } from './connection.ts';
import { IstioCertificateService } from './generated/istio/v1/auth/ca_pb.ts';

export type Istiod = ReturnType<typeof connectIstiod>;

const CALL_TIMEOUT_MS = 5_000;
const MAX_ANSWER_BYTES = 256 * 1024;

/** Creates a client that connects to istiod on demand. */
export function connectIstiod(options: IstiodOptions) {
  const connection = openIstiodConnection(options, MAX_ANSWER_BYTES);
  return {
    /**
     * Requests a certificate from istiod.
     * @param request the CSR in PEM format, the lifetime in seconds, and a ServiceAccount token for the audience
     *   `istio-ca`
     * @returns the unverified certificate chain from istiod in PEM format, starting with the leaf
     * @throws MeshpassError `ca_unavailable`, with the name of the gRPC status in `detail.grpc`
     */
    sign: async (request: {
      readonly csr: string;
      readonly ttl: number;
      readonly token: string;
      readonly signal?: AbortSignal;
    }) => {
      const { csr, ttl, token, signal } = request;
      const transport = connection.transport();
      if (!transport) throw unavailable('the mesh roots are not known yet, or this client is closed', 'Unavailable');
      const headers = { authorization: `Bearer ${token}` };
      try {
        const asked = { csr, validityDuration: BigInt(ttl) };
        const how = { headers, timeoutMs: CALL_TIMEOUT_MS, ...(signal && { signal }) };
        return (await createClient(IstioCertificateService, transport).createCertificate(asked, how)).certChain;
      } catch (thrown) {
        const error = ConnectError.from(thrown);
        throw unavailable(error.rawMessage, Code[error.code]!, error.cause);
      }
    },
    close: connection.close,
  };
}

function unavailable(said: string, grpc: string, cause?: unknown): MeshpassError {
  return new MeshpassError('ca_unavailable', 'The mesh CA is not responding. Try again shortly.', {
    ...(cause !== undefined && { cause }),
    detail: { grpc, said: said.slice(0, 500) },
    retryAfter: 2,
  });
}
