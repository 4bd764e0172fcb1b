/** A control connection to one of the edges: the first that answers. */
import { isIP } from 'node:net';
import { connect, type SecureContext, type TLSSocket } from 'node:tls';
import { CONTROL_ALPN } from '@meshpass/identity/channel/frames';
import { MeshpassError } from '@meshpass/identity/error';

export interface ChannelEdge {
  /** Name in the edge's certificate. */
  readonly host: string;
  readonly port: number;
}

/** The next edge is tried when the ones before have not answered for so long, ms. */
const STAGGER_MS = 250;

/**
 * @param edges in the order in which they are tried
 * @param timeoutMs for TCP and TLS of all of them
 * @param signal gives up
 * @throws MeshpassError `agent_edge_unreachable`
 */
export function connectControl(
  edges: readonly ChannelEdge[],
  secureContext: SecureContext,
  timeoutMs: number,
  signal: AbortSignal,
): Promise<TLSSocket> {
  return new Promise((resolve, reject) => {
    const open = new Set<TLSSocket>();
    const waiting = [...edges];
    let failure: unknown;
    let stagger: NodeJS.Timeout | undefined;
    const timer = setTimeout(() => settle(undefined, new Error('timeout')), timeoutMs);
    signal.addEventListener('abort', giveUp);
    next();

    function giveUp(): void {
      settle(undefined, signal.reason);
    }

    function next(): void {
      clearTimeout(stagger);
      const edge = waiting.shift();
      if (!edge) {
        if (open.size === 0) settle(undefined, failure);
        return;
      }
      if (waiting.length > 0) stagger = setTimeout(next, STAGGER_MS);
      const { host, port } = edge;
      const socket = connect({
        ...{ host, port, secureContext, minVersion: 'TLSv1.3', ALPNProtocols: [CONTROL_ALPN] },
        // An address is no server name (RFC 6066 section 3); the certificate is held against it all the same.
        ...(isIP(host) === 0 && { servername: host }),
      });
      open.add(socket);
      socket.setNoDelay(true);
      socket.setKeepAlive(true, 30_000);
      socket.on('error', (cause) => {
        failure = cause;
        socket.destroy();
        if (open.delete(socket)) next();
      });
      socket.once('secureConnect', () => {
        // Without a common protocol an edge without control connections may go on, and wait for CONNECT.
        if (socket.alpnProtocol === CONTROL_ALPN) settle(socket);
        else socket.destroy(new Error('the edge serves no control connections'));
      });
    }

    function settle(socket: TLSSocket | undefined, cause?: unknown): void {
      clearTimeout(timer);
      clearTimeout(stagger);
      signal.removeEventListener('abort', giveUp);
      waiting.length = 0;
      for (const other of open) {
        open.delete(other);
        if (other !== socket) other.destroy();
      }
      if (socket) resolve(socket);
      else reject(new MeshpassError('agent_edge_unreachable', 'No edge serves a control connection.', { cause }));
    }
  });
}
