/** Responses of the operator listener, as schemas for people and their programs. Inside the broker, types describe them. */
import { RecordedSession } from '@meshpass/identity/drill-report';
import { z } from 'zod';

const instant = z.iso.datetime().meta({ description: 'RFC 3339, UTC' });
const unixSeconds = z.number().int().meta({ description: 'Unix seconds' });
const sha256 = z.string().regex(/^[0-9a-f]{64}$/);

export const Health = z.object({ status: z.literal('alive') }).meta({ id: 'Health' });
export const Readiness = z
  .object({
    status: z.enum(['ready', 'not ready', 'standby']),
    reasons: z.array(z.string()),
    warnings: z.array(z.string()).optional(),
    break_glass: z.boolean().optional().meta({ description: 'Whether the operator token is accepted' }),
  })
  .meta({ id: 'Readiness' });
export const Version = z.object({ version: z.string() }).meta({ id: 'Version' });

export const Sessions = z
  .object({
    sessions: z.array(
      z.object({
        id: z.string(),
        subject: z.string(),
        login: z.string(),
        issuer: z.string(),
        workspace: z.string(),
        workspace_key: z.string(),
        repository: z.string().optional(),
        grants: z.array(z.string()),
        opened_at: unixSeconds,
        expires_at: unixSeconds,
        lease_expires_at: unixSeconds,
      }),
    ),
    next: z
      .string()
      .optional()
      .meta({ description: 'Give it as `after` for the page that follows; absent at the end' }),
  })
  .meta({ id: 'Sessions' });

export const ClosedSessions = z
  .object({
    closed: z.array(z.string()),
    denied: z.array(z.string()).meta({ description: 'Had ended before, and are now denied in the mesh' }),
  })
  .meta({ id: 'ClosedSessions' });

const SigningKeys = z.array(
  z.object({
    kid: z.string(),
    part: z.enum(['signing', 'next', 'retired']),
    in_mesh: z.boolean(),
    signs_from: instant.optional(),
    until: instant.optional(),
  }),
);

export const Trust = z
  .object({
    signing_keys: SigningKeys,
    roots: z.object({
      trusted: z.array(
        z.object({ sha256: z.string(), subject: z.string(), not_after: instant, certificates: z.number().int() }),
      ),
      other_certificates: z.number().int(),
    }),
  })
  .meta({ id: 'Trust' });

export const Rotated = Trust.extend({
  kid: z.string(),
  made: z.boolean().optional(),
  dropped: z.array(z.string()).optional(),
}).meta({ id: 'Rotated' });

const nullable = z.string().nullable();

export const AuditRows = z
  .object({
    rows: z.array(
      z.object({
        seq: z.number().int(),
        previous: sha256,
        hash: sha256,
        id: z.string(),
        time: instant,
        action: z.string(),
        outcome: z.enum(['allowed', 'refused', 'ended']),
        code: nullable,
        reason: z.string(),
        subject: nullable,
        login: nullable,
        issuer: nullable,
        session_id: nullable,
        workspace: nullable,
        grant_name: nullable,
        rule: nullable,
        target: nullable,
        proof_hash: nullable,
        source: nullable,
        request_id: nullable,
        detail: nullable,
      }),
    ),
    next: z.number().int().meta({ description: 'To be given as `after` for the page that follows' }),
  })
  .meta({ id: 'AuditRows', description: 'docs/audit.md' });

export const Pruned = z
  .object({ size: z.number().int(), rows: z.number().int(), note: z.string() })
  .meta({ id: 'Pruned' });

export const DrilledSession = RecordedSession.meta({ id: 'RecordedSession' });
export const Evidence = z
  .object({ evidence: z.string().meta({ description: 'Compact JWS' }) })
  .meta({ id: 'Evidence' });

export const Plan = z
  .object({
    id: sha256,
    state: sha256,
    resources: z.array(
      z.object({
        kind: z.string(),
        name: z.string(),
        does: z.enum(['create', 'change', 'remove']),
        source: z.string().optional(),
      }),
    ),
    reach: z.array(
      z.object({ grant: z.string(), does: z.enum(['gains', 'loses']), service: z.string(), what: z.string() }),
    ),
    changes: z.array(
      z.object({
        path: z.string(),
        does: z.enum(['gains', 'loses', 'changes']),
        before: z.string().optional(),
        after: z.string().optional(),
        wider: z.boolean(),
        says: z.string(),
      }),
    ),
    findings: z.array(
      z.object({
        kind: z.string(),
        grant: z.string().optional(),
        message: z.string(),
        example: z.string(),
        because: z.string(),
      }),
    ),
    assumed: z.array(z.string()),
    refused: z.boolean(),
  })
  .meta({ id: 'Plan', description: 'docs/policy.md' });

export const History = z
  .object({
    versions: z.array(
      z.object({ version: z.number().int(), time: instant, by: z.string(), reason: z.string(), plan: z.string() }),
    ),
  })
  .meta({ id: 'History' });
