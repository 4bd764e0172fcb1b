/**
 * Client for istiod's certificate service (port 15012): a gRPC call over HTTP/2, authenticated by a ServiceAccount
 * token for the audience `istio-ca`. It never presents an SVID as its client certificate, because istiod would renew
 * the SVID even after its ServiceAccount is gone.
 */
import { Code, ConnectError, createClient } from '@connectrpc/connect';
import { MeshpassError } from '@meshpass/identity';
import { type IstiodOptions, openIstiodConnection } from './connection.ts';
import { IstioCertificateService } from './generated/istio/v1/auth/ca_pb.ts';

export type Istiod = ReturnType<typeof connectIstiod>;

const CALL_TIMEOUT_MS = 5_000;
const MAX_ANSWER_BYTES = 256 * 1024;

/** Creates the client, which connects on demand. */
export function connectIstiod(options: IstiodOptions) {
  const connection = openIstiodConnection(options, MAX_ANSWER_BYTES);
  return {
    /**
     * Requests a certificate.
     * @param request PEM; lifetime in seconds; and a ServiceAccount token for the audience `istio-ca`
     * @returns PEM from istiod, leaf first, unverified
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
