/**
 * The report of a drill, in which all credentials of an ended session are tried again at every layer. The broker signs
 * the report as evidence, together with its own record of the session (docs/drill.md).
 */
import { z } from 'zod';

export const DRILL_CAUSES = ['goodbye', 'admin', 'lapse', 'rebuild', 'outside'] as const;
export type DrillCause = (typeof DRILL_CAUSES)[number];

/** The layers that should reject a credential. */
const DRILL_LAYERS = [
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

/**
 * The possible outcomes of an attempt. `dead` and `lives` are expected, while `stale` and `broken` are failures. All
 * others prove nothing.
 */
const DRILL_OUTCOMES = ['dead', 'stale', 'lives', 'broken', 'not_tried', 'noted'] as const;

const instant = z.iso.datetime();
const short = z.string().max(300);

export const DrillRow = z.strictObject({
  part: z.enum(['before', 'connections', 'replays', 'left', 'rebuild']),
  layer: z.enum(DRILL_LAYERS),
  tried: short,
  outcome: z.enum(DRILL_OUTCOMES),
  /** How the layer rejected the credential, or why the drill did not try it. */
  how: short,
  /** The time from the cause until the connection ended or the credential was first rejected. */
  ms: z.number().int().nonnegative().optional(),
  /** The maximum value of `ms` that is acceptable. */
  limit_ms: z.number().int().positive().optional(),
});
export type DrillRow = z.infer<typeof DrillRow>;

export const DrillReport = z.strictObject({
  version: z.literal(1),
  /** The public URL of the broker. */
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
  /** The SPIFFE ids of the certificates that the drill tried. */
  principals: z.array(short).max(64),
  rows: z.array(DrillRow).max(400),
});
export type DrillReport = z.infer<typeof DrillReport>;

/** The record of a session that the broker has stored. */
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
      /**
       * Whether the root DENY policy covers the principal after the end of the session. Older brokers omit this field,
       * because they always denied the principal.
       */
      denied: z.boolean().optional(),
    }),
  ),
});
export type RecordedSession = z.infer<typeof RecordedSession>;

/**
 * The payload of an evidence file, which is a compact JWS (RFC 7515). Identity tokens are signed with the same key, so
 * the payload does not contain the claims `iss`, `sub` and `aud`. A sidecar therefore cannot mistake it for an identity
 * token.
 */
export const DrillEvidence = z.strictObject({
  drill: DrillReport,
  witness: z.strictObject({ broker: z.url(), signed_at: instant, session: RecordedSession }),
});
export type DrillEvidence = z.infer<typeof DrillEvidence>;

/** The `typ` header of the JWS. */
export const EVIDENCE_TYPE = 'meshpass-drill+jws';

/** Returns the rows that failed. If there are none, the drill has passed. */
export function failedRows({ rows }: DrillReport): readonly DrillRow[] {
  return rows.filter(({ outcome }) => outcome === 'stale' || outcome === 'broken');
}
