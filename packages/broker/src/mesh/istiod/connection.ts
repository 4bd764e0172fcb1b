/** HTTP/2 connection to istiod (port 15012), replaced when its trusted roots change. */
import type { Transport } from '@connectrpc/connect';
import { createGrpcTransport, Http2SessionManager } from '@connectrpc/connect-node';

export interface IstiodOptions {
  /** `host:port`; a Service address or, in the lab, an IP. */
  readonly address: string;
  /** DNS name that istiod's certificate must contain. */
  readonly serverName: string;
  /**
   * Returns the PEM of the roots that istiod's certificate is verified against. Called for every request, because roots
   * are rotated.
   */
  readonly roots: () => readonly string[];
}

export type IstiodConnection = ReturnType<typeof openIstiodConnection>;

/**
 * Short, to notice an istiod that was replaced without closing its connections. istiod ends a connection with
 * ENHANCE_YOUR_CALM if pings arrive more often than half of istiod's own keepalive time, 30 s by default (istio
 * pilot/pkg/grpc/grpc.go).
 */
const PING_INTERVAL_MS = 20_000;
const PING_TIMEOUT_MS = 3_000;
const IDLE_MS = 5 * 60_000;

/**
 * Creates the connection, which opens on demand.
 * @param maxAnswerBytes maximum message from istiod, bytes
 */
export function openIstiodConnection(options: IstiodOptions, maxAnswerBytes: number) {
  const baseUrl = `https://${options.address}`;
  let current: { readonly trusts: string; readonly session: Http2SessionManager; readonly transport: Transport };
  let closed = false;
  return {
    /**
     * Transport for new calls; undefined while the roots are unknown, and after closing. A rotation of roots creates a
     * new transport, and calls in progress finish on the previous connection.
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
    /** Aborts calls in progress. */
    close: () => {
      closed = true;
      current?.session.abort();
    },
  };
}
