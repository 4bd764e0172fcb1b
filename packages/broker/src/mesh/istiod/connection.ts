/** HTTP/2 connection to istiod (port 15012). It is replaced when the trusted roots change. */
import type { Transport } from '@connectrpc/connect';
import { createGrpcTransport, Http2SessionManager } from '@connectrpc/connect-node';

export interface IstiodOptions {
  /** Address of istiod as `host:port`: a Service address or, in the lab, an IP address. */
  readonly address: string;
  /** DNS name that istiod's certificate must contain. */
  readonly serverName: string;
  /**
   * Returns the roots for verifying istiod's certificate, PEM. Called for every request, because roots are rotated.
   */
  readonly roots: () => readonly string[];
}

export type IstiodConnection = ReturnType<typeof openIstiodConnection>;

/**
 * Interval between pings. It is short in order to detect an istiod that was replaced without closing its connections.
 * istiod closes a connection with ENHANCE_YOUR_CALM if the interval is shorter than half of istiod's own keepalive
 * time, which is 30 s by default (istio pilot/pkg/grpc/grpc.go).
 */
const PING_INTERVAL_MS = 20_000;
const PING_TIMEOUT_MS = 3_000;
const IDLE_MS = 5 * 60_000;

/**
 * Creates a connection that opens on demand.
 * @param maxAnswerBytes maximum size of a message from istiod, bytes
 */
export function openIstiodConnection(options: IstiodOptions, maxAnswerBytes: number) {
  const baseUrl = `https://${options.address}`;
  let current: { readonly trusts: string; readonly session: Http2SessionManager; readonly transport: Transport };
  let closed = false;
  return {
    /**
     * Returns the transport for new calls. Returns undefined while the roots are unknown and after `close`. A rotation
     * of the roots creates a new transport. Calls in progress finish on the previous connection.
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
    /** Closes the connection and aborts calls in progress. */
    close: () => {
      closed = true;
      current?.session.abort();
    },
  };
}
