/** Messages about control connections that an edge and the broker exchange. */
import { z } from 'zod';
import { digest } from '../schema/fields.ts';

/**
 * The header of `GET /edge/stream` that an edge uses to request the events it needs to serve control connections. `1`
 * requests notices and configurations. `2` also requests the tunnels that other edges are draining. Higher numbers
 * request every event that is defined here. An edge closes the stream if it receives an event that it does not
 * recognize.
 */
export const CONTROL_HEADER = 'meshpass-control';
/** The maximum number of sessions in a `POST /edge/draining` request. */
export const MAX_DRAINING_SESSIONS = 500;

/** The request body of `POST /edge/configuration`, which requests the bytes of a configuration that was announced. */
export const EdgeConfigurationRequest = z.object({
  set: z.string().max(4_096),
  digest,
});

/**
 * The age of a session's newest tunnel at an edge, in milliseconds. It is an age and not a timestamp, because clocks
 * differ.
 */
export const newestTunnelAgeMs = z.number().int().min(0).max(Number.MAX_SAFE_INTEGER);

export const DrainingTunnels = z.object({
  session_id: z.string().min(1).max(64),
  newest_ms: newestTunnelAgeMs,
});
export type DrainingTunnels = z.infer<typeof DrainingTunnels>;

/**
 * The request body of `POST /edge/draining`. An edge that is terminating reports the sessions that still have tunnels
 * through it, so that other edges can notify their agents.
 */
export const EdgeDraining = z.object({ sessions: z.array(DrainingTunnels).max(MAX_DRAINING_SESSIONS) });
