/** Every bound of the edge, in one place. A client that exceeds one is refused or cut, never waited for. */

export interface EdgeLimits {
  /** TCP accept to finished TLS handshake, ms. No less than an agent waits: else an edge that all come back to at once hangs up first. */
  readonly handshakeMs: number;
  /** Life of an authenticated connection that waits before its CONNECT, ms. */
  readonly warmMs: number;
  /** First byte of the CONNECT head to its last, ms. */
  readonly headMs: number;
  /** Dialling the mesh gateway, ms. */
  readonly dialMs: number;
  /** The 200 to the last byte of the inner ClientHello, ms. */
  readonly helloMs: number;
  /** An open tunnel on which no byte moves either way, ms. */
  readonly idleMs: number;
  /** An open tunnel of which one side has closed, and on which no byte moves, ms. */
  readonly halfClosedMs: number;
  /** How long a refused client may take to read its refusal, ms. */
  readonly lingerMs: number;
  /** CONNECT head, bytes. */
  readonly headBytes: number;
  /** Inner ClientHello with its record headers, bytes. */
  readonly helloBytes: number;
  /** Open connections of sessions in all. */
  readonly connections: number;
  /** Connections behind which no live session is known yet, in all; beyond it the oldest of the most crowded network ends. */
  readonly strangers: number;
  /** The same of one source address (an IPv6 /64 is one source). Codespaces share their NAT addresses. */
  readonly strangersPerSource: number;
  /** Connections of one session, warm ones included. */
  readonly connectionsPerSession: number;
  /** Decisions a second that are reported for clients without a live session; the rest are counted and summed up. */
  readonly anonymousReportsPerSecond: number;
}

/** How often deadlines are compared with the clock, ms: enough to keep the shortest limit to a quarter, and at most once a second. */
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
