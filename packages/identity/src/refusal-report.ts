/**
 * Reports of refused calls from an agent to the broker (docs/interfaces/protocol.md), aggregated by kind. Requests can
 * be confidential, so a report does not contain paths, headers or client addresses. Readers of the audit log only need
 * to know that a call was refused, and where.
 */
import { z } from 'zod';
import { isErrorCode } from './error.ts';
import { port } from './schema/fields.ts';

/**
 * The hops that can refuse a call: the Envoy of the workspace, the edge, any component between the edge and the
 * workload, and the workload itself.
 */
const HOPS = ['workspace', 'edge', 'mesh', 'workload'] as const;
export type Hop = (typeof HOPS)[number];

/** The methods in RFC 9110 section 9.3, and PATCH. Anything else that a program sends is reported as `OTHER`. */
const REPORTED_METHODS = ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS', 'OTHER'] as const;
export type ReportedMethod = (typeof REPORTED_METHODS)[number];

/** The maximum number of kinds of refusals in a report. */
export const MAX_REPORTED_REFUSALS = 32;
/** The maximum number of sample ids for each kind of refusal. */
export const MAX_REPORTED_IDS = 4;
const MAX_COUNT = 1_000_000_000;
/**
 * Matches UUIDs, which are the ids that Envoy and the edge create. All other request ids come from programs and are
 * dropped.
 */
const ID = /^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;

/** The refusals of one kind since the last report. */
export const ReportedRefusal = z.strictObject({
  hop: z.enum(HOPS),
  /** The full name of a service that is granted to the session. */
  host: z
    .string()
    .max(253)
    .regex(/^[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?$/),
  port,
  /** The request method. Absent if a connection was refused instead of a request. */
  method: z.enum(REPORTED_METHODS).optional(),
  status: z.number().int().min(400).max(599).optional(),
  /** An error code from docs/troubleshooting.md. */
  code: z.string().max(64).refine(isErrorCode, 'is not a known error code'),
  count: z.number().int().min(1).max(MAX_COUNT),
  /** The ids of some of the requests or edge decisions. */
  ids: z.array(z.string().regex(ID)).max(MAX_REPORTED_IDS),
});
export type ReportedRefusal = z.infer<typeof ReportedRefusal>;

const counts = {
  refusals: z.array(ReportedRefusal).max(MAX_REPORTED_REFUSALS).optional(),
  /** The number of refusals of kinds that are not listed. */
  more_refusals: z.number().int().min(0).max(MAX_COUNT).optional(),
};

/** The body of `POST /session/refusals`. */
export const RefusalReportRequest = z.object({
  ...counts,
  /** Refusals in the previous session of the workspace that have not been reported yet. */
  earlier: z.object({ session_id: z.string().regex(/^[A-Za-z0-9_-]{1,64}$/), ...counts }).optional(),
});
export type RefusalReportRequest = z.infer<typeof RefusalReportRequest>;

/** Whether an id may be included in a report. */
export function isReportableId(text: string | undefined): text is string {
  return text !== undefined && ID.test(text);
}

/**
 * Returns the method to report for a request.
 * @param method the request method that the program sent
 */
export function reportedMethod(method: string): ReportedMethod {
  return (REPORTED_METHODS as readonly string[]).includes(method) ? (method as ReportedMethod) : 'OTHER';
}
