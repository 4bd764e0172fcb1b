/** Operator routes for inspecting the broker's signing keys and root certificates, and for rotating keys. */
import { X509Certificate } from 'node:crypto';
import { isPlainText } from '@meshpass/identity';
import { z } from 'zod';
import { toUnixSeconds } from '../../base/index.ts';
import { fingerprint } from '../../mesh/index.ts';
import type { AuthorizedRoute } from '../operator/operator-route.ts';
import type { AdminContext } from '../process.ts';

type Context = Pick<AdminContext, 'on' | 'sessions' | 'mesh' | 'clock'>;

/** The body of `POST /admin/trust/rotate`. */
export const KeyRotationBody = z.strictObject({
  /** Whether to revoke all existing keys immediately. */
  revoke: z.literal(true).optional(),
  reason: z.string().max(200).refine(isPlainText).optional(),
});

/** Returns `GET /admin/trust` and `POST /admin/trust/rotate`. */
export function trustRoutes(context: Context): readonly AuthorizedRoute[] {
  const { rotation } = context.sessions;
  const { on } = context;
  return [
    // Reads are only audited if they are refused.
    on('GET /admin/trust', { does: 'trust.show', action: 'operator.list' }, async () => trustOf(context)),
    on(
      'POST /admin/trust/rotate',
      {
        does: ({ revoke }) => (revoke ? 'rotation.revoke' : 'rotation.rotate'),
        action: 'operator.rotate',
        schema: KeyRotationBody,
        auditMembers: ({ revoke }) => (revoke ? { detail: { revoke } } : {}),
      },
      async ({ event, body: { revoke } }) => {
        const done = revoke ? await rotation.revoke(event) : await rotation.rotate(event);
        // The new state is part of the same response, because a revocation also signs this operator out.
        return { ...done, ...trustOf(context) };
      },
    ),
  ];
}

function trustOf(context: Context) {
  return { signing_keys: context.sessions.rotation.status(), roots: rootsInUse(context) };
}

/**
 * Counts the valid workspace certificates under each root. The mesh CA does not track these numbers. A root without
 * valid certificates can be removed.
 */
function rootsInUse({ mesh, sessions, clock }: Context) {
  const now = toUnixSeconds(clock);
  const using = new Map<string, number>();
  for (const { svids } of sessions.live.all())
    for (const { until, root = UNKNOWN } of svids.values())
      if (until > now) using.set(root, (using.get(root) ?? 0) + 1);
  const trusted = mesh.roots().map((pem) => {
    const certificate = new X509Certificate(pem);
    const sha256 = fingerprint(certificate);
    const certificates = using.get(sha256) ?? 0;
    using.delete(sha256);
    return { sha256, subject: certificate.subject, not_after: certificate.validToDate.toISOString(), certificates };
  });
  // Count the certificates that were issued before this process started, or under a root that is no longer trusted.
  // Their number falls as certificates are renewed.
  const others = [...using.values()].reduce((sum, count) => sum + count, 0);
  return { trusted, other_certificates: others };
}

const UNKNOWN = '';
