/** What edge and broker say to each other of control connections. */
import { z } from 'zod';
import { MAX_LEASE_PROOF } from './lease-proof.ts';
import { MAX_STATEMENT } from './statement.ts';

/** Most leases of one request. */
export const MAX_EDGE_LEASES = 500;
/** Header of `GET /edge/stream` by which an edge asks for what it needs to serve control connections. */
export const CONTROL_HEADER = 'meshpass-control';

export const EdgeLease = z.object({
  /** Of the SVID that the connection was opened with. */
  session_id: z.string().min(1).max(64),
  /** Too long a proof is refused by itself, not with the others. */
  proof: z.string().max(MAX_LEASE_PROOF * 2),
});
export type EdgeLease = z.infer<typeof EdgeLease>;

/** `POST /edge/leases` */
export const EdgeLeases = z.object({ leases: z.array(EdgeLease).max(MAX_EDGE_LEASES) });
export type EdgeLeases = z.infer<typeof EdgeLeases>;

export const EdgeLeaseAnswer = z.object({
  session_id: z.string(),
  /** To be passed on. */
  statement: z.string().max(MAX_STATEMENT).optional(),
  error_code: z.string().max(64).optional(),
});
export type EdgeLeaseAnswer = z.infer<typeof EdgeLeaseAnswer>;
export const EdgeLeaseAnswers = z.object({ answers: z.array(EdgeLeaseAnswer).max(MAX_EDGE_LEASES) });

/** `POST /edge/configuration`: asks for the bytes of an announced configuration. */
export const EdgeConfigurationRequest = z.object({
  set: z.string().max(4_096),
  digest: z.string().regex(/^[A-Za-z0-9_-]{43}$/),
});
export type EdgeConfigurationRequest = z.infer<typeof EdgeConfigurationRequest>;
