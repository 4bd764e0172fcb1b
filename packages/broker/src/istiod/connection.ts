/** One HTTP/2 connection to istiod (port 15012), opened anew where the roots that vouch for it have changed. */
import type { Transport } from '@connectrpc/connect';
import { createGrpcTransport, Http2SessionManager } from '@connectrpc/connect-node';

export interface IstiodOptions {
  /** `host:port`; a Service address or, in the lab, an IP. */
  readonly address: string;
  /** The name that istiod's certificate must carry. */
  readonly serverName: string;
  /** PEM of the roots that may vouch for istiod; asked at every call, because roots are rotated. */
  readonly roots: () => readonly string[];
}

export interface IstiodConnection {
  /**
   * For the calls that begin now; undefined while the roots are not known, and once it is closed. After a rotation of roots it is
   * another one, and the one before drains by itself: calls under way end on it.
   */
  readonly transport: () => Transport | undefined;
  /** Ends what is under way. */
  readonly close: () => void;
}

/**
 * An istiod that was replaced without closing its connections must be noticed soon. It ends a connection with ENHANCE_YOUR_CALM that
 * pings more often than half its own keepalive time, which is 30 s by default (istio pilot/pkg/grpc/grpc.go).
 */
const PING_INTERVAL_MS = 20_000;
const PING_TIMEOUT_MS = 3_000;
const IDLE_MS = 5 * 60_000;

/** @param maxAnswerBytes longest message that istiod may send */
export function openIstiodConnection(options: IstiodOptions, maxAnswerBytes: number): IstiodConnection {
  const baseUrl = `https://${options.address}`;
  let current: { readonly trusts: string; readonly session: Http2SessionManager; readonly transport: Transport };
  let closed = false;
  return {
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
    close: () => {
      closed = true;
      current?.session.abort();
    },
  };
}
