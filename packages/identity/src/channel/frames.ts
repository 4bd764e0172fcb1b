/** The frames between agent and edge: JSON, one a line (docs/protocol.md). An edge is trusted with none of what they say. */
import { z } from 'zod';
import { newestMs } from './edge-wire.ts';
import { MAX_LEASE_PROOF } from './lease-proof.ts';
import { MAX_STATEMENT } from './statement.ts';

/** ALPN protocol by which an agent asks an edge for a control connection in place of a tunnel. */
export const CONTROL_ALPN = 'meshpass-control/1';
/** Longest line that an agent sends, bytes. */
export const MAX_AGENT_FRAME = 4_096;

const digest = z.string().regex(/^[A-Za-z0-9_-]{43}$/);

export const AgentFrame = z.discriminatedUnion('type', [
  /** Renew the lease: at most one is under way. */
  z.object({ type: z.literal('lease'), proof: z.string().max(MAX_LEASE_PROOF) }),
  /** The bytes of the configuration that was announced. */
  z.object({ type: z.literal('configuration'), digest }),
]);
export type AgentFrame = z.infer<typeof AgentFrame>;

export const EdgeFrame = z.discriminatedUnion('type', [
  z.object({ type: z.literal('statement'), statement: z.string().max(MAX_STATEMENT) }),
  /** `content` is base64; it is what the digest says, or worth nothing. */
  z.object({ type: z.literal('configuration'), digest, content: z.string() }),
  /** Something of the session has changed: its next lease tells what. */
  z.object({ type: z.literal('changed') }),
  /** This edge is about to end: connect to another one. */
  z.object({ type: z.literal('draining') }),
  /** An edge that is about to end, this one or another, carries tunnels of the session; the newest is so many ms old. */
  z.object({ type: z.literal('tunnels_draining'), newest_ms: newestMs }),
  /** The lease that was asked for is not renewed, or the connection not served. Nobody's word: the agent asks over HTTPS. */
  z.object({ type: z.literal('refused'), error_code: z.string().max(64), decision_id: z.string().max(64).optional() }),
]);
export type EdgeFrame = z.infer<typeof EdgeFrame>;

export function formatFrame(frame: AgentFrame | EdgeFrame): string {
  return `${JSON.stringify(frame)}\n`;
}
