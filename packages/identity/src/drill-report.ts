/**
 * The report of a drill: a session was ended, everything that it held was tried again at every layer, and this is what
 * became of it. The broker signs it as evidence, with what it knows itself of the session (docs/drill.md).
 */
import { z } from 'zod';

export const DRILL_CAUSES = ['goodbye', 'admin', 'lapse', 'rebuild', 'outside'] as const;
export type DrillCause = (typeof DRILL_CAUSES)[number];

/** Where a credential is refused, or should be. */
export const DRILL_LAYERS = [
  'token endpoint',
  'session renewal',
  'certificate renewal',
  'configuration',
  'Kubernetes token',
  'edge',
  'control channel',
  'mesh gateway',
  'sidecar',
  'TokenReview',
  'ServiceAccount',
  'root DENY',
  'store',
] as const;
export type DrillLayer = (typeof DRILL_LAYERS)[number];

/** `dead` and `lives` are as they should be, `stale` and `broken` are not; the others prove nothing either way. */
export const DRILL_OUTCOMES = ['dead', 'stale', 'lives', 'broken', 'not_tried', 'noted'] as const;

const instant = z.iso.datetime();
const short = z.string().max(300);

export const DrillRow = z.strictObject({
  part: z.enum(['before', 'connections', 'replays', 'left', 'rebuild']),
  layer: z.enum(DRILL_LAYERS),
  tried: short,
  outcome: z.enum(DRILL_OUTCOMES),
  /** How it was refused, or why it was not tried. */
  how: short,
  /** From the cause to the end of the connection, or to the first refusal. */
  ms: z.number().int().nonnegative().optional(),
  /** What `ms` may be. */
  limit_ms: z.number().int().positive().optional(),
});
export type DrillRow = z.infer<typeof DrillRow>;

export const DrillReport = z.strictObject({
  version: z.literal(1),
  /** Public URL of the broker. */
  broker: z.url().max(300),
  started_at: instant,
  ended_at: instant,
  cause: z.enum(DRILL_CAUSES),
  session: z.strictObject({
    id: z.string().max(64),
    subject: short,
    login: short,
    workspace: short,
    grants: z.array(z.string().max(63)).max(64),
  }),
  /** SPIFFE ids whose certificates were tried. */
  principals: z.array(short).max(64),
  rows: z.array(DrillRow).max(400),
});
export type DrillReport = z.infer<typeof DrillReport>;

/** What the store of the broker has of a session. */
export const RecordedSession = z.strictObject({
  id: z.string(),
  opened_at: instant,
  closed_at: instant.nullable(),
  close_cause: z.string().nullable(),
  principals: z.array(
    z.strictObject({
      spiffe_id: z.string(),
      namespace: z.string(),
      last_not_after: instant.nullable(),
      /** Whether the root DENY holds it once it is over; older brokers, which always did, do not say. */
      denied: z.boolean().optional(),
    }),
  ),
});
export type RecordedSession = z.infer<typeof RecordedSession>;

/**
 * Payload of an evidence file, a compact JWS (RFC 7515). It has none of the claims `iss`, `sub`, `aud`: no sidecar takes
 * it for an identity token, though the same key signs both.
 */
export const DrillEvidence = z.strictObject({
  drill: DrillReport,
  witness: z.strictObject({ broker: z.url(), signed_at: instant, session: RecordedSession }),
});
export type DrillEvidence = z.infer<typeof DrillEvidence>;

/** `typ` in the header of the JWS. */
export const EVIDENCE_TYPE = 'meshpass-drill+jws';

/** What was not as it should be; a drill without any has passed. */
export function failedRows({ rows }: DrillReport): readonly DrillRow[] {
  return rows.filter(({ outcome }) => outcome === 'stale' || outcome === 'broken');
}
