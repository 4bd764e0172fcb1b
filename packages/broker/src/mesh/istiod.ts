/**
 * The certificate service of istiod (port 15012): one gRPC call over one HTTP/2 connection, authenticated by a
 * ServiceAccount token for audience `istio-ca`. An SVID is never presented as client certificate: istiod would renew it
 * even after its ServiceAccount is gone.
 */
import { Code, ConnectError, createClient } from '@connectrpc/connect';
import { createGrpcTransport } from '@connectrpc/connect-node';
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

export function connectIstiod(options: IstiodOptions): Istiod {
  let roots = '';
  let closing = new AbortController();
  let client: ReturnType<typeof open> | undefined;

  const open = (ca: readonly string[]) =>
    createClient(
      IstioCertificateService,
      createGrpcTransport({
        baseUrl: `https://${options.address}`,
        nodeOptions: { ca: [...ca], servername: options.serverName, minVersion: 'TLSv1.2' },
        ...{ pingIntervalMs: PING_INTERVAL_MS, pingTimeoutMs: PING_TIMEOUT_MS },
        readMaxBytes: 256 * 1024,
      }),
    );

  const connected = () => {
    const now = options.roots();
    if (now.length === 0) throw unavailable('the roots of the mesh are not known yet', 'Unavailable');
    const text = now.join('\n');
    if (!client || text !== roots) {
      roots = text;
      client = open(now);
    }
    return client;
  };

  return {
    sign: async ({ csr, ttl, token, signal }) => {
      const either = signal ? AbortSignal.any([signal, closing.signal]) : closing.signal;
      try {
        const answer = await connected().createCertificate(
          { csr, validityDuration: BigInt(ttl) },
          { headers: { authorization: `Bearer ${token}` }, timeoutMs: CALL_TIMEOUT_MS, signal: either },
        );
        return answer.certChain;
      } catch (thrown) {
        if (thrown instanceof MeshpassError) throw thrown;
        const error = ConnectError.from(thrown);
        throw unavailable(error.rawMessage, Code[error.code]!, error.cause);
      }
    },
    close: () => {
      closing.abort();
      closing = new AbortController();
      client = undefined;
    },
  };
}

function unavailable(said: string, grpc: string, cause?: unknown): MeshpassError {
  return new MeshpassError(
    'ca_unavailable',
    'The certificate authority of the mesh does not answer; try again shortly.',
    {
      ...(cause !== undefined && { cause }),
      detail: { grpc, said: said.slice(0, 500) },
      retryAfter: 2,
    },
  );
}
