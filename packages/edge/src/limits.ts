/**
 * The limits of an edge. A client that exceeds one of them is refused or disconnected. The edge never waits for a
 * client.
 */

export interface EdgeLimits {
  /**
   * How long a client may take from TCP accept to the end of the TLS handshake, in milliseconds. This must be at least
   * as long as the agent's own timeout. Otherwise, the edge would be the first to hang up when all agents reconnect at
   * once.
   */
  readonly handshakeMs: number;
  /** How long an authenticated connection may wait before it sends its CONNECT request, in milliseconds. */
  readonly warmMs: number;
  /**
   * How long a client may take to send the head of its CONNECT request, in milliseconds, measured from its first byte.
   */
  readonly headMs: number;
  /** The timeout for connecting to the mesh gateway, in milliseconds. */
  readonly dialMs: number;
  /** How long a client may take from the 200 response to the last byte of the inner ClientHello, in milliseconds. */
  readonly helloMs: number;
  /** The idle timeout for an open tunnel, in milliseconds. */
  readonly idleMs: number;
  /** The idle timeout for a tunnel that one side has already closed, in milliseconds. */
  readonly halfClosedMs: number;
  /** How long a rejected client has to read the error response, in milliseconds. */
  readonly lingerMs: number;
  /** The maximum size of the head of a CONNECT request, in bytes. */
  readonly headBytes: number;
  /** The maximum size of the inner ClientHello including its record headers, in bytes. */
  readonly helloBytes: number;
  /** The maximum number of open connections, across all sessions. */
  readonly connections: number;
  /**
   * The maximum number of open connections that do not belong to a known live session ("strangers"). If there are more,
   * the edge closes the oldest connection from the most crowded network.
   */
  readonly strangers: number;
  /**
   * The maximum number of strangers per source address. An IPv6 /64 counts as a single address. Codespaces share NAT
   * addresses.
   */
  readonly strangersPerSource: number;
  /** The maximum number of connections per session, including those that are still waiting. */
  readonly connectionsPerSession: number;
  /**
   * The maximum number of decisions per second that are reported individually for clients without a live session. Any
   * further decisions are reported as a sum.
   */
  readonly anonymousReportsPerSecond: number;
}

/**
 * Returns how often deadlines should be checked, in milliseconds. This is a quarter of the shortest limit, but no more
 * than a second.
 */
export function sweepInterval(limits: EdgeLimits): number {
  const { handshakeMs, warmMs, headMs, dialMs, helloMs, idleMs, halfClosedMs, lingerMs } = limits;
  const shortest = Math.min(handshakeMs, warmMs, headMs, dialMs, helloMs, idleMs, halfClosedMs, lingerMs);
  return Math.max(10, Math.min(1_000, Math.floor(shortest / 4)));
}

export const DEFAULT_LIMITS: EdgeLimits = {
  handshakeMs: 10_000,
  warmMs: 300_000,
  headMs: 5_000,
  dialMs: 3_000,
  helloMs: 5_000,
  idleMs: 3_600_000,
  halfClosedMs: 60_000,
  lingerMs: 1_000,
  headBytes: 4_096,
  helloBytes: 16_384,
  connections: 32_768,
  strangers: 4_096,
  strangersPerSource: 1_024,
  connectionsPerSession: 256,
  anonymousReportsPerSecond: 20,
};
