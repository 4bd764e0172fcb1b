/** Messages that an edge and the broker exchange about control connections. */
import { z } from 'zod';
import { digest } from '../schema/fields.ts';

/**
 * Header of `GET /edge/stream` that requests the events an edge needs to serve control connections. `1` requests
 * notices and configurations. `2` additionally requests the tunnels that other edges are draining. A higher number
 * requests every event defined here. An edge closes the stream if it receives an event that it does not recognize.
 */
export const CONTROL_HEADER = 'meshpass-control';
/** Maximum number of sessions per `POST /edge/draining`. */
export const MAX_DRAINING_SESSIONS = 500;

/** Body of `POST /edge/configuration`, which requests the bytes of an announced configuration. */
export const EdgeConfigurationRequest = z.object({
  set: z.string().max(4_096),
  digest,
});
export type EdgeConfigurationRequest = z.infer<typeof EdgeConfigurationRequest>;

/** Age of a session's newest tunnel at an edge, ms. This is an age and not a timestamp, because clocks differ. */
export const newestTunnelAgeMs = z.number().int().min(0).max(Number.MAX_SAFE_INTEGER);

export const DrainingTunnels = z.object({
  session_id: z.string().min(1).max(64),
  newest_ms: newestTunnelAgeMs,
});
export type DrainingTunnels = z.infer<typeof DrainingTunnels>;

/**
 * Body of `POST /edge/draining`. A terminating edge reports the sessions whose tunnels it still carries, so that other
 * edges can notify their agents.
 */
export const EdgeDraining = z.object({ sessions: z.array(DrainingTunnels).max(MAX_DRAINING_SESSIONS) });
export type EdgeDraining = z.infer<typeof EdgeDraining>;
