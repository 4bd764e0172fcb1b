/**
 * The certificate service of istiod (port 15012): one gRPC call over one HTTP/2 connection, authenticated by a
 * ServiceAccount token for audience `istio-ca`. An SVID is never presented as client certificate: istiod would renew it
 * even after its ServiceAccount is gone.
 */
import { type Client, Code, ConnectError, createClient } from '@connectrpc/connect';
import { createGrpcTransport, Http2SessionManager } from '@connectrpc/connect-node';
import { MeshpassError } from '@meshpass/identity';
import { IstioCertificateService } from './generated/istio/v1/auth/ca_pb.ts';

export interface IstiodOptions {
  /** `host:port`; a Service address or, in the lab, an IP. */
  readonly address: string;
  /** The name that istiod's certificate must carry. */
  readonly serverName: string;
  /** PEM of the roots that may vouch for istiod; asked at every call, because roots are rotated. */
  readonly roots: () => readonly string[];
}

export interface IstiodSignRequest {
  /** PEM. */
  readonly csr: string;
  /** Seconds. */
  readonly ttl: number;
  /** ServiceAccount token, audience `istio-ca`. */
  readonly token: string;
  readonly signal?: AbortSignal;
}

export interface Istiod {
  /**
   * @returns PEM as istiod sent it, leaf first; nothing in it has been verified
   * @throws MeshpassError `ca_unavailable`; `detail.grpc` is the status name
   */
  sign(request: IstiodSignRequest): Promise<readonly string[]>;
  close(): void;
}

const CALL_TIMEOUT_MS = 5_000;
/** An istiod that was replaced without closing its connections must be noticed within seconds. */
const PING_INTERVAL_MS = 10_000;
const PING_TIMEOUT_MS = 3_000;
const IDLE_MS = 5 * 60_000;
const MAX_ANSWER_BYTES = 256 * 1024;

export function connectIstiod(options: IstiodOptions): Istiod {
  let current: Connection | undefined;
  let closed = false;

  const connection = (): Connection => {
    const roots = options.roots();
    if (closed) throw unavailable('this client is closed', 'Canceled');
    if (roots.length === 0) throw unavailable('the roots of the mesh are not known yet', 'Unavailable');
    const trusts = roots.join('');
    // After a rotation of roots the old connection drains by itself: calls under way end on it.
    if (current?.trusts !== trusts) current = open(options, roots, trusts);
    return current;
  };

  return {
    sign: async ({ csr, ttl, token, signal }) => {
      const { client } = connection();
      const headers = { authorization: `Bearer ${token}` };
      try {
        const request = { csr, validityDuration: BigInt(ttl) };
        const how = { headers, timeoutMs: CALL_TIMEOUT_MS, ...(signal && { signal }) };
        return (await client.createCertificate(request, how)).certChain;
      } catch (thrown) {
        const error = ConnectError.from(thrown);
        throw unavailable(error.rawMessage, Code[error.code]!, error.cause);
      }
    },
    close: () => {
      closed = true;
      current?.session.abort();
    },
  };
}

interface Connection {
  readonly trusts: string;
  readonly session: Http2SessionManager;
  readonly client: Client<typeof IstioCertificateService>;
}

function open({ address, serverName }: IstiodOptions, roots: readonly string[], trusts: string): Connection {
  const baseUrl = `https://${address}`;
  const session = new Http2SessionManager(
    baseUrl,
    { pingIntervalMs: PING_INTERVAL_MS, pingTimeoutMs: PING_TIMEOUT_MS, idleConnectionTimeoutMs: IDLE_MS },
    { ca: [...roots], servername: serverName, minVersion: 'TLSv1.2' },
  );
  const transport = createGrpcTransport({ baseUrl, sessionManager: session, readMaxBytes: MAX_ANSWER_BYTES });
  return { trusts, session, client: createClient(IstioCertificateService, transport) };
}

function unavailable(said: string, grpc: string, cause?: unknown): MeshpassError {
  return new MeshpassError('ca_unavailable', 'The mesh CA does not answer; try again shortly.', {
    ...(cause !== undefined && { cause }),
    detail: { grpc, said: said.slice(0, 500) },
    retryAfter: 2,
  });
}
