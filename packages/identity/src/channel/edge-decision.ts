import { z } from 'zod';

/** What the edge decided about a tunnel; the broker writes it to the audit log. */
export const EdgeDecision = z.object({
  id: z.string(),
  at: z.number(),
  outcome: z.enum(['allowed', 'refused', 'ended']),
  code: z.string().optional(),
  reason: z.string(),
  session_id: z.string().optional(),
  spiffe_id: z.string().optional(),
  /** `host:port` */
  target: z.string().optional(),
  /** The server name that CONNECT asked for, where it named one in place of `host:port`: tells the subset. */
  sni: z.string().optional(),
  source: z.string(),
  bytes_in: z.number().optional(),
  bytes_out: z.number().optional(),
  /** Life of an ended tunnel, ms. */
  duration_ms: z.number().optional(),
});
export type EdgeDecision = z.infer<typeof EdgeDecision>;

export const EdgeDecisions = z.object({ decisions: z.array(EdgeDecision).max(1000) });
