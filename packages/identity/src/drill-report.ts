/**
 * Drill report: the results of trying all credentials of an ended session again at every layer. The broker signs the
 * report as evidence, together with its own record of the session (docs/drill.md).
 */
import { z } from 'zod';

export const DRILL_CAUSES = ['goodbye', 'admin', 'lapse', 'rebuild', 'outside'] as const;
export type DrillCause = (typeof DRILL_CAUSES)[number];

/** Layers that should refuse a credential. */
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

/** Outcomes of an attempt. `dead` and `lives` are expected. `stale` and `broken` are failures. Others prove nothing. */
const DRILL_OUTCOMES = ['dead', 'stale', 'lives', 'broken', 'not_tried', 'noted'] as const;

const instant = z.iso.datetime();
const short = z.string().max(300);

export const DrillRow = z.strictObject({
  part: z.enum(['before', 'connections', 'replays', 'left', 'rebuild']),
  layer: z.enum(DRILL_LAYERS),
  tried: short,
  outcome: z.enum(DRILL_OUTCOMES),
  /** Describes how the layer refused the credential, or why the drill did not try it. */
  how: short,
  /** Time from the cause until the connection ended or the first refusal occurred. */
  ms: z.number().int().nonnegative().optional(),
  /** Maximum for `ms`. */
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
  /** SPIFFE ids of the certificates that the drill tried. */
  principals: z.array(short).max(64),
  rows: z.array(DrillRow).max(400),
});
export type DrillReport = z.infer<typeof DrillReport>;

/** The broker's stored record of a session. */
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
       * Whether the root DENY policy covers the principal after the session has ended. Older brokers omit this field:
       * they always denied the principal.
       */
      denied: z.boolean().optional(),
    }),
  ),
});
export type RecordedSession = z.infer<typeof RecordedSession>;

/**
 * Payload of an evidence file, which is a compact JWS (RFC 7515). Identity tokens are signed with the same key, so the
 * payload omits the claims `iss`, `sub` and `aud` to prevent a sidecar from mistaking it for one.
 */
export const DrillEvidence = z.strictObject({
  drill: DrillReport,
  witness: z.strictObject({ broker: z.url(), signed_at: instant, session: RecordedSession }),
});
export type DrillEvidence = z.infer<typeof DrillEvidence>;

/** `typ` header of the JWS. */
export const EVIDENCE_TYPE = 'meshpass-drill+jws';

/** Returns the rows that failed. The drill passed if there are none. */
export function failedRows({ rows }: DrillReport): readonly DrillRow[] {
  return rows.filter(({ outcome }) => outcome === 'stale' || outcome === 'broken');
}
