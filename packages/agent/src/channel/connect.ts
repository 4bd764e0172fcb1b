/** Opens a control connection to an edge. */
import { once } from 'node:events';
import { isIP } from 'node:net';
import { connect, type SecureContext, type TLSSocket } from 'node:tls';
import { MeshpassError } from '@meshpass/identity';
import { CONTROL_ALPN } from '@meshpass/identity/channel';
import type { MeshInfo } from '@meshpass/identity/wire';

/** The public address of the edge. Its host must be a name in the edge's certificate. */
export type ChannelEdge = MeshInfo['edge'];

/**
 * Connects to the edge. Node.js tries every address that the edge's name resolves to (RFC 8305).
 * @param signal aborts the connection attempt
 * @throws MeshpassError `agent_edge_unreachable`
 */
export async function connectToEdge(
  { host, port }: ChannelEdge,
  secureContext: SecureContext,
  signal: AbortSignal,
): Promise<TLSSocket> {
  const socket = connect({
    host,
    port,
    secureContext,
    minVersion: 'TLSv1.3',
    ALPNProtocols: [CONTROL_ALPN],
    // An IP address is not a valid server name (RFC 6066 section 3). The certificate is still verified against it.
    ...(isIP(host) === 0 && { servername: host }),
  });
  socket.setNoDelay(true);
  socket.setKeepAlive(true, 30_000);
  socket.on('error', () => {}); // the socket also emits `close`
  try {
    await once(socket, 'secureConnect', { signal });
    // An edge that does not serve control connections does not negotiate the control protocol. It would keep the
    // connection open and wait for a CONNECT request.
    if (socket.alpnProtocol === CONTROL_ALPN) return socket;
    throw new Error('the edge does not serve control connections');
  } catch (cause) {
    socket.destroy();
    throw new MeshpassError('agent_edge_unreachable', 'Cannot open a control connection to any edge.', { cause });
  }
}
