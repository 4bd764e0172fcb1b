/**
 * Refused calls that an agent reports to the broker (docs/interfaces/protocol.md), aggregated by kind. Requests may be
 * confidential, so a report does not contain paths, headers or client addresses. Readers of the audit log only need to
 * know that a call was refused, and where.
 */
import { z } from 'zod';
import { isErrorCode } from './error.ts';
import { port } from './schema/fields.ts';

/**
 * Hops that can refuse a call: the workspace's Envoy, the edge, any component between the edge and the workload, or the
 * workload itself.
 */
const HOPS = ['workspace', 'edge', 'mesh', 'workload'] as const;
export type Hop = (typeof HOPS)[number];

/** Methods from RFC 9110 section 9.3, and PATCH. Any other text that a program sends is reported as `OTHER`. */
const REPORTED_METHODS = ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS', 'OTHER'] as const;
export type ReportedMethod = (typeof REPORTED_METHODS)[number];

/** Maximum number of refusal kinds per report. */
export const MAX_REPORTED_REFUSALS = 32;
/** Maximum number of sample ids per refusal kind. */
export const MAX_REPORTED_IDS = 4;
const MAX_COUNT = 1_000_000_000;
/** Pattern of a UUID, which Envoy and the edge create. Other request ids come from programs and are dropped. */
const ID = /^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;

/** Refusals of one kind since the last report. */
export const ReportedRefusal = z.strictObject({
  hop: z.enum(HOPS),
  /** Full name of a service granted to the session. */
  host: z
    .string()
    .max(253)
    .regex(/^[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?$/),
  port,
  /** Absent if a connection was refused instead of a request. */
  method: z.enum(REPORTED_METHODS).optional(),
  status: z.number().int().min(400).max(599).optional(),
  /** Code from docs/troubleshooting.md. */
  code: z.string().max(64).refine(isErrorCode, 'is not a known error code'),
  count: z.number().int().min(1).max(MAX_COUNT),
  /** Sample ids of requests or of edge decisions. */
  ids: z.array(z.string().regex(ID)).max(MAX_REPORTED_IDS),
});
export type ReportedRefusal = z.infer<typeof ReportedRefusal>;

const counts = {
  refusals: z.array(ReportedRefusal).max(MAX_REPORTED_REFUSALS).optional(),
  /** Number of refusals of kinds that are not listed. */
  more_refusals: z.number().int().min(0).max(MAX_COUNT).optional(),
};

/** Body of `POST /session/refusals`. */
export const RefusalReportRequest = z.object({
  ...counts,
  /** Refusals from the workspace's previous session that have not been reported yet. */
  earlier: z.object({ session_id: z.string().regex(/^[A-Za-z0-9_-]{1,64}$/), ...counts }).optional(),
});
export type RefusalReportRequest = z.infer<typeof RefusalReportRequest>;

/** Whether an id may be included in a report. */
export function isReportableId(text: string | undefined): text is string {
  return text !== undefined && ID.test(text);
}

/**
 * Maps a request method to the method to report.
 * @param method request method as sent by the program
 */
export function reportedMethod(method: string): ReportedMethod {
  return (REPORTED_METHODS as readonly string[]).includes(method) ? (method as ReportedMethod) : 'OTHER';
}
