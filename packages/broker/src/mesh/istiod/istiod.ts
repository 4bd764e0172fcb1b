/**
 * A client for istiod's certificate service (port 15012), which is a gRPC service over HTTP/2. Calls are authenticated
 * with a ServiceAccount token for the audience `istio-ca`. The client never presents an SVID as its own certificate,
 * because istiod would renew that SVID even after its ServiceAccount has been deleted.
 */
import { Code, ConnectError, createClient, type Transport } from '@connectrpc/connect';
import { createGrpcTransport, Http2SessionManager } from '@connectrpc/connect-node';
import { MeshpassError } from '@meshpass/identity';
import { IstioCertificateService } from './generated/istio/v1/auth/ca_pb.ts';

export interface IstiodOptions {
  /** The address of istiod as `host:port`. The host is a Service name or, in the lab, an IP address. */
  readonly address: string;
  /** The DNS name that istiod's certificate must contain. */
  readonly serverName: string;
  /**
   * Returns the root certificates for verifying istiod's certificate, in PEM format. This is called for every request,
   * because roots are rotated.
   */
  readonly roots: () => readonly string[];
}

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

// The HTTP/2 connection to istiod. It is replaced whenever the trusted roots change.

export type IstiodConnection = ReturnType<typeof openIstiodConnection>;

/**
 * The interval between pings. It is short so that the broker notices when istiod was replaced without closing its
 * connections. If it were shorter than half of istiod's own keepalive time, which is 30 s by default, istiod would
 * close the connection with ENHANCE_YOUR_CALM (istio pilot/pkg/grpc/grpc.go).
 */
const PING_INTERVAL_MS = 20_000;
const PING_TIMEOUT_MS = 3_000;
const IDLE_MS = 5 * 60_000;

/**
 * Creates a connection to istiod that is opened on demand.
 * @param maxAnswerBytes the maximum size of a message from istiod, in bytes
 */
export function openIstiodConnection(options: IstiodOptions, maxAnswerBytes: number) {
  const baseUrl = `https://${options.address}`;
  let current: { readonly trusts: string; readonly session: Http2SessionManager; readonly transport: Transport };
  let closed = false;
  return {
    /**
     * Returns the transport for new calls, or undefined if the roots are not known yet or the connection was closed.
     * When the roots are rotated, a new transport is created. Calls in progress finish on the previous connection.
     */
    transport: () => {
      const roots = options.roots();
      if (closed || roots.length === 0) return undefined;
      const trusts = roots.join('');
      if (current?.trusts !== trusts) {
        const session = new Http2SessionManager(
          baseUrl,
          { pingIntervalMs: PING_INTERVAL_MS, pingTimeoutMs: PING_TIMEOUT_MS, idleConnectionTimeoutMs: IDLE_MS },
          { ca: [...roots], servername: options.serverName, minVersion: 'TLSv1.2' },
        );
        const transport = createGrpcTransport({ baseUrl, sessionManager: session, readMaxBytes: maxAnswerBytes });
        current = { trusts, session, transport };
      }
      return current.transport;
    },
    /** Closes the connection and aborts all calls in progress. */
    close: () => {
      closed = true;
      current?.session.abort();
    },
  };
}
