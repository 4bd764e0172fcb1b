/**
 * Frames between an agent and an edge. Each frame is a line that contains a JSON object (docs/interfaces/protocol.md).
 * The agent and the broker do not rely on the edge for the authenticity of the content.
 */
import { z } from 'zod';
import { digest } from '../schema/fields.ts';
import { newestTunnelAgeMs } from './edge-wire.ts';
import { MAX_LEASE_PROOF_LENGTH } from './lease-proof.ts';
import { MAX_STATEMENT_LENGTH } from './statement.ts';

/** The ALPN protocol that an agent uses to request a control connection instead of a tunnel. */
export const CONTROL_ALPN = 'meshpass-control/1';
/** The maximum length of a line from an agent, in bytes. */
export const MAX_AGENT_FRAME = 4_096;

export const AgentFrame = z.discriminatedUnion('type', [
  /** Renews the lease. There can only be one renewal at a time. */
  z.object({ type: z.literal('lease'), proof: z.string().max(MAX_LEASE_PROOF_LENGTH) }),
  /** Requests the bytes of a configuration that was announced. */
  z.object({ type: z.literal('configuration'), digest }),
]);
export type AgentFrame = z.infer<typeof AgentFrame>;

export const EdgeFrame = z.discriminatedUnion('type', [
  z.object({ type: z.literal('statement'), statement: z.string().max(MAX_STATEMENT_LENGTH) }),
  /** Contains the configuration as base64. It is only valid if it matches the digest. */
  z.object({ type: z.literal('configuration'), digest, content: z.string() }),
  /** Announces that the session has changed. The next lease contains its new state. */
  z.object({ type: z.literal('changed') }),
  /** Announces that this edge is terminating. The agent then connects to another edge. */
  z.object({ type: z.literal('draining') }),
  /**
   * Announces that this edge or another one is terminating and still has tunnels of the session. `newest_ms` is the age
   * of the newest of these tunnels.
   */
  z.object({ type: z.literal('tunnels_draining'), newest_ms: newestTunnelAgeMs }),
  /**
   * Reports that the lease was not renewed, or that the edge does not serve the connection. The frame is not signed, so
   * the agent verifies it with the broker over HTTPS.
   */
  z.object({ type: z.literal('refused'), error_code: z.string().max(64), decision_id: z.string().max(64).optional() }),
]);
export type EdgeFrame = z.infer<typeof EdgeFrame>;

/** Encodes a frame as a line of JSON. */
export function formatFrame(frame: AgentFrame | EdgeFrame): string {
  return `${JSON.stringify(frame)}\n`;
}
