/** What edge and broker say to each other of control connections. */
import { z } from 'zod';
import { MAX_LEASE_PROOF } from './lease-proof.ts';
import { MAX_STATEMENT } from './statement.ts';

/** Most leases of one request. */
export const MAX_EDGE_LEASES = 500;
/**
 * Header of `GET /edge/stream` by which an edge asks for what it needs to serve control connections: `1` for notices and configurations,
 * `2` for what other edges say of tunnels that they are about to end, too. A higher number asks for all that is known here. An edge ends a
 * stream that has an event it does not know.
 */
export const CONTROL_HEADER = 'meshpass-control';
/** Most sessions of one `POST /edge/draining`. */
export const MAX_DRAINING = 500;

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

/** Age of the newest tunnel that a session has at an edge, ms. An age, because clocks differ. */
export const newestMs = z.number().int().min(0).max(Number.MAX_SAFE_INTEGER);

export const DrainingTunnels = z.object({
  session_id: z.string().min(1).max(64),
  newest_ms: newestMs,
});
export type DrainingTunnels = z.infer<typeof DrainingTunnels>;

/** `POST /edge/draining`: the edge is about to end, and carries tunnels of these sessions. Their agents may be told by other edges. */
export const EdgeDraining = z.object({ sessions: z.array(DrainingTunnels).max(MAX_DRAINING) });
export type EdgeDraining = z.infer<typeof EdgeDraining>;
