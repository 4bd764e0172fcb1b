/** The edge's limits. A client that exceeds one is refused or cut. The edge never waits for it. */

export interface EdgeLimits {
  /**
   * Time limit from TCP accept to the end of the TLS handshake, ms. At least as long as an agent's timeout. Otherwise
   * an edge to which all agents return at once would hang up first.
   */
  readonly handshakeMs: number;
  /** How long an authenticated connection may wait before its CONNECT, ms. */
  readonly warmMs: number;
  /** Time from the first to the last byte of the CONNECT head, ms. */
  readonly headMs: number;
  /** Connection to the mesh gateway, ms. */
  readonly dialMs: number;
  /** Time from the 200 to the last byte of the inner ClientHello, ms. */
  readonly helloMs: number;
  /** How long an open tunnel may carry no traffic, ms. */
  readonly idleMs: number;
  /** How long a tunnel may carry no traffic after one side has closed, ms. */
  readonly halfClosedMs: number;
  /** How long a refused client has to read its refusal, ms. */
  readonly lingerMs: number;
  /** CONNECT head, bytes. */
  readonly headBytes: number;
  /** Inner ClientHello with its record headers, bytes. */
  readonly helloBytes: number;
  /** Open connections of all sessions. */
  readonly connections: number;
  /**
   * Open connections without a known live session. Beyond the limit, the oldest connection from the most crowded
   * network is ended.
   */
  readonly strangers: number;
  /** Maximum strangers per source address (an IPv6 /64 counts as one). Codespaces share NAT addresses. */
  readonly strangersPerSource: number;
  /** Connections per session, including those that are waiting. */
  readonly connectionsPerSession: number;
  /** Decisions reported per second for clients without a live session. Further decisions are summed up. */
  readonly anonymousReportsPerSecond: number;
}

/** How often deadlines are checked, ms: a quarter of the shortest limit, at most a second. */
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
