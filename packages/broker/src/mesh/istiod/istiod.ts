/**
 * Client for istiod's certificate service (port 15012), a gRPC service over HTTP/2. Calls are authenticated with a
 * ServiceAccount token for the audience `istio-ca`. The client never presents an SVID as its certificate, because
 * istiod would renew that SVID even after its ServiceAccount has been deleted.
 */
import { Code, ConnectError, createClient } from '@connectrpc/connect';
import { MeshpassError } from '@meshpass/identity';
import { type IstiodOptions, openIstiodConnection } from './connection.ts';
import { IstioCertificateService } from './generated/istio/v1/auth/ca_pb.ts';

export type Istiod = ReturnType<typeof connectIstiod>;

const CALL_TIMEOUT_MS = 5_000;
const MAX_ANSWER_BYTES = 256 * 1024;

/** Creates a client that connects on demand. */
export function connectIstiod(options: IstiodOptions) {
  const connection = openIstiodConnection(options, MAX_ANSWER_BYTES);
  return {
    /**
     * Requests a certificate.
     * @param request CSR in PEM, lifetime in seconds, and a ServiceAccount token for the audience `istio-ca`
     * @returns unverified certificates from istiod in PEM, leaf first
     * @throws MeshpassError `ca_unavailable`; `detail.grpc` is the status name
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
