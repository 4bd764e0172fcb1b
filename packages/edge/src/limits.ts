/** Limits of the edge. A client that exceeds one is refused or cut. The edge never waits for a client. */

export interface EdgeLimits {
  /**
   * Time limit from TCP accept to the end of the TLS handshake, ms. It must be at least as long as an agent's timeout.
   * Otherwise the edge would hang up first if all agents reconnect at once.
   */
  readonly handshakeMs: number;
  /** Time limit for an authenticated connection to send its CONNECT, ms. */
  readonly warmMs: number;
  /** Time limit from the first to the last byte of the CONNECT head, ms. */
  readonly headMs: number;
  /** Time limit for connecting to the mesh gateway, ms. */
  readonly dialMs: number;
  /** Time limit from the 200 response to the last byte of the inner ClientHello, ms. */
  readonly helloMs: number;
  /** Time after which an open tunnel without traffic is closed, ms. */
  readonly idleMs: number;
  /** Time after which a tunnel without traffic is closed if one side has already closed, ms. */
  readonly halfClosedMs: number;
  /** Time limit for a refused client to read its refusal, ms. */
  readonly lingerMs: number;
  /** Maximum size of the CONNECT head, bytes. */
  readonly headBytes: number;
  /** Maximum size of the inner ClientHello including its record headers, bytes. */
  readonly helloBytes: number;
  /** Maximum number of open connections, across all sessions. */
  readonly connections: number;
  /**
   * Maximum number of open connections that do not belong to a known live session (strangers). Beyond it, the oldest
   * connection from the most crowded network is ended.
   */
  readonly strangers: number;
  /**
   * Maximum number of strangers per source address. An IPv6 /64 counts as one address. Codespaces share NAT addresses.
   */
  readonly strangersPerSource: number;
  /** Maximum number of connections per session, including those that are waiting. */
  readonly connectionsPerSession: number;
  /**
   * Maximum number of decisions per second that are reported for clients without a live session. Further decisions are
   * summed.
   */
  readonly anonymousReportsPerSecond: number;
}

/**
 * Returns the interval at which deadlines are checked, ms. It is a quarter of the shortest limit, but at most a second.
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
