/** Messages that an edge and the broker exchange: the broker's feed, control connections, and the edge's decisions. */
import { z } from 'zod';
import { digest, dnsName, port, unixSeconds } from '../schema/fields.ts';
import { MAX_STATEMENT_LENGTH } from './statement.ts';

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

const target = z.object({ host: dnsName, port });

/** A live session, as an edge sees it. */
export const AdmittedSession = z.object({
  id: z.string(),
  expires_at: unixSeconds,
  /**
   * The principals (SPIFFE ids), one for each grant, and the targets that each can reach. `until` is when the grant
   * ends in this session.
   */
  principals: z.array(z.object({ spiffe_id: z.string(), targets: z.array(target), until: unixSeconds.optional() })),
  /** The set of grants that determines the session's configuration (see `grantSet`). */
  set: z.string().optional(),
});
export type AdmittedSession = z.infer<typeof AdmittedSession>;

/** A line of `GET /edge/stream` (NDJSON). The first line is a snapshot, and a heartbeat follows every few seconds. */
export const EdgeEvent = z.discriminatedUnion('type', [
  z.object({ type: z.literal('snapshot'), sessions: z.array(AdmittedSession), roots: z.array(z.string()) }),
  /** Adds a session or updates its targets. */
  z.object({ type: z.literal('admit'), session: AdmittedSession }),
  z.object({ type: z.literal('close'), id: z.string(), reason: z.string() }),
  z.object({ type: z.literal('roots'), roots: z.array(z.string()) }),
  z.object({ type: z.literal('beat'), at: unixSeconds }),
  /**
   * Contains a statement for the agent of a closed session. Like the next event, it is only sent to edges that request
   * it (CONTROL_HEADER).
   */
  z.object({ type: z.literal('notice'), id: z.string(), statement: z.string().max(MAX_STATEMENT_LENGTH) }),
  /**
   * Contains a statement for all agents with this set of grants. It is sent for every new configuration, and for all
   * known ones after a snapshot.
   */
  z.object({
    type: z.literal('configuration'),
    set: z.string(),
    digest: z.string().max(64),
    statement: z.string().max(MAX_STATEMENT_LENGTH),
  }),
  /**
   * Announces that an edge is terminating while it still has tunnels of these sessions. It is only sent to edges that
   * support the event (CONTROL_HEADER).
   */
  z.object({ type: z.literal('draining'), sessions: z.array(DrainingTunnels).max(MAX_DRAINING_SESSIONS) }),
]);
export type EdgeEvent = z.infer<typeof EdgeEvent>;

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
