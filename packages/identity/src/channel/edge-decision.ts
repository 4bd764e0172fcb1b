import { z } from 'zod';

/** Edge decision about a tunnel, which the broker writes to the audit log. */
export const EdgeDecision = z.object({
  /** Becomes the id of the audit row, so that repeated reports are written only once. */
  id: z.string().regex(/^[\w-]{1,64}$/),
  /** Unix ms. */
  at: z.int().min(0).max(8.64e15),
  outcome: z.enum(['allowed', 'refused', 'ended']),
  code: z.string().max(64).optional(),
  reason: z.string(),
  session_id: z.string().max(64).optional(),
  spiffe_id: z.string().optional(),
  /** `host:port` */
  target: z.string().optional(),
  /** Server name in the CONNECT request, if it was sent instead of `host:port`. Identifies the subset. */
  sni: z.string().optional(),
  source: z.string(),
  bytes_in: z.number().optional(),
  bytes_out: z.number().optional(),
  /** How long the ended tunnel lasted, ms. */
  duration_ms: z.number().optional(),
});
export type EdgeDecision = z.infer<typeof EdgeDecision>;

export const EdgeDecisions = z.object({ decisions: z.array(EdgeDecision).max(1000) });
