/**
 * What an agent tells the broker of calls that were refused, in the body of a heartbeat (docs/protocol.md). Counted by what they have
 * in common. No path, header or address of a client is in it: what a program asked for may be secret, and who reads the audit log
 * needs to know that and where it was refused.
 */
import { z } from 'zod';
import { isErrorCode } from './error.ts';

/** Who refused: the workspace's Envoy, the edge, something between edge and workload, or the workload. */
export const HOPS = ['workspace', 'edge', 'mesh', 'workload'] as const;
export type Hop = (typeof HOPS)[number];

/** RFC 9110 section 9.3, and PATCH; every other one is `OTHER`: a program chooses that text. */
export const REPORTED_METHODS = ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS', 'OTHER'] as const;
export type ReportedMethod = (typeof REPORTED_METHODS)[number];

/** Kinds of refusals in one report. */
export const MAX_REPORTED = 32;
/** Ids that a kind names. */
export const MAX_REPORTED_IDS = 4;
const MAX_COUNT = 1_000_000_000;
/** Envoy makes UUIDs, and so does the edge; what else a program sends as its request's id is not taken. */
const ID = /^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;

/** Refusals of one kind since the last report. */
export const ReportedRefusal = z.strictObject({
  hop: z.enum(HOPS),
  /** Full name of a service that the session was granted. */
  host: z
    .string()
    .max(253)
    .regex(/^[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?$/),
  port: z.number().int().min(1).max(65_535),
  /** Absent: a connection. */
  method: z.enum(REPORTED_METHODS).optional(),
  status: z.number().int().min(400).max(599).optional(),
  /** As in docs/troubleshooting.md. */
  code: z.string().max(64).refine(isErrorCode, 'is no error code'),
  count: z.number().int().min(1).max(MAX_COUNT),
  /** Of some of them: the id of the request, or of the edge's decision. */
  ids: z.array(z.string().regex(ID)).max(MAX_REPORTED_IDS),
});
export type ReportedRefusal = z.infer<typeof ReportedRefusal>;

const counts = {
  refusals: z.array(ReportedRefusal).max(MAX_REPORTED).optional(),
  /** Refusals of further kinds. */
  more_refusals: z.number().int().min(0).max(MAX_COUNT).optional(),
};

/** Body of `POST /session/heartbeat`; it may be left out. */
export const HeartbeatRequest = z.object({
  ...counts,
  /** Of this workspace's session before, which was over before it had told them. */
  earlier: z.object({ session_id: z.string().regex(/^[A-Za-z0-9_-]{1,64}$/), ...counts }).optional(),
});
export type HeartbeatRequest = z.infer<typeof HeartbeatRequest>;

/** Whether an id may stand in a report. */
export function isReportedId(text: string | undefined): text is string {
  return text !== undefined && ID.test(text);
}

/** @param method of a request, as it was sent */
export function reportedMethod(method: string): ReportedMethod {
  return (REPORTED_METHODS as readonly string[]).includes(method) ? (method as ReportedMethod) : 'OTHER';
}
