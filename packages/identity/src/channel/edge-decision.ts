import { z } from 'zod';

/** An edge's decision about a tunnel. The broker writes it to the audit log. */
export const EdgeDecision = z.object({
  /** The id of the audit row. It ensures that a repeated report is written only once. */
  id: z.string().regex(/^[\w-]{1,64}$/),
  /** The time of the decision, in Unix milliseconds. */
  at: z.int().min(0).max(8.64e15),
  outcome: z.enum(['allowed', 'refused', 'ended']),
  code: z.string().max(64).optional(),
  reason: z.string(),
  session_id: z.string().max(64).optional(),
  spiffe_id: z.string().optional(),
  /** The target in the form `host:port`. */
  target: z.string().optional(),
  /**
   * The server name in the CONNECT request, if the client sent one instead of `host:port`. It identifies the subset.
   */
  sni: z.string().optional(),
  source: z.string(),
  bytes_in: z.number().optional(),
  bytes_out: z.number().optional(),
  /** The duration of a tunnel that has ended, in milliseconds. */
  duration_ms: z.number().optional(),
});
export type EdgeDecision = z.infer<typeof EdgeDecision>;

export const EdgeDecisions = z.object({ decisions: z.array(EdgeDecision).max(1000) });
