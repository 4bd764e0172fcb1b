/**
 * Frames between agent and edge: one JSON object per line (docs/interfaces/protocol.md). Agent and broker do not rely
 * on the edge for the authenticity of their content.
 */
import { z } from 'zod';
import { digest } from '../schema/fields.ts';
import { newestTunnelAgeMs } from './edge-wire.ts';
import { MAX_LEASE_PROOF_LENGTH } from './lease-proof.ts';
import { MAX_STATEMENT_LENGTH } from './statement.ts';

/** ALPN protocol that an agent uses to request a control connection instead of a tunnel. */
export const CONTROL_ALPN = 'meshpass-control/1';
/** Maximum length of a line from an agent, bytes. */
export const MAX_AGENT_FRAME = 4_096;

export const AgentFrame = z.discriminatedUnion('type', [
  /** Renews the lease. Only one renewal may be in progress at a time. */
  z.object({ type: z.literal('lease'), proof: z.string().max(MAX_LEASE_PROOF_LENGTH) }),
  /** Requests the bytes of an announced configuration. */
  z.object({ type: z.literal('configuration'), digest }),
]);
export type AgentFrame = z.infer<typeof AgentFrame>;

export const EdgeFrame = z.discriminatedUnion('type', [
  z.object({ type: z.literal('statement'), statement: z.string().max(MAX_STATEMENT_LENGTH) }),
  /** Carries `content` in base64. Valid only if it matches the digest. */
  z.object({ type: z.literal('configuration'), digest, content: z.string() }),
  /** Announces that the session has changed. The next lease describes it. */
  z.object({ type: z.literal('changed') }),
  /** Announces that this edge is terminating. The agent then connects to another edge. */
  z.object({ type: z.literal('draining') }),
  /**
   * Announces that this edge or another one is terminating while it still carries tunnels of the session. `newest_ms`
   * is the age of the newest tunnel.
   */
  z.object({ type: z.literal('tunnels_draining'), newest_ms: newestTunnelAgeMs }),
  /**
   * Reports that the lease was not renewed or that the edge does not serve the connection. The frame is unsigned, so
   * the agent checks with the broker over HTTPS.
   */
  z.object({ type: z.literal('refused'), error_code: z.string().max(64), decision_id: z.string().max(64).optional() }),
]);
export type EdgeFrame = z.infer<typeof EdgeFrame>;

/** Encodes a frame as one line of JSON. */
export function formatFrame(frame: AgentFrame | EdgeFrame): string {
  return `${JSON.stringify(frame)}\n`;
}
