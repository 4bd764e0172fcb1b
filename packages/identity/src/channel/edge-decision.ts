import { z } from 'zod';

/** An edge's decision about a tunnel. The broker writes it to the audit log. */
export const EdgeDecision = z.object({
  /** Id of the audit row, so that a repeated report is written only once. */
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
  /** Server name from the CONNECT request, if it was sent instead of `host:port`. It identifies the subset. */
  sni: z.string().optional(),
  source: z.string(),
  bytes_in: z.number().optional(),
  bytes_out: z.number().optional(),
  /** Duration of a tunnel that has ended, ms. */
  duration_ms: z.number().optional(),
});
export type EdgeDecision = z.infer<typeof EdgeDecision>;

export const EdgeDecisions = z.object({ decisions: z.array(EdgeDecision).max(1000) });
