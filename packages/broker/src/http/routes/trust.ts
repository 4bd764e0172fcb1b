/** What the broker's tokens and certificates rest on, for operators: signing keys and roots, and the change of the keys. */
import { X509Certificate } from 'node:crypto';
import { isPlainText } from '@meshpass/identity/text';
import { z } from 'zod';
import { granted } from '../../audit/log/decision.ts';
import { seconds } from '../../clock/clock.ts';
import { fingerprint } from '../../istiod/verify-certificate.ts';
import type { MeshState } from '../../reconcile/contract.ts';
import type { LiveIndex } from '../../session/live.ts';
import type { Rotation } from '../../token/rotation.ts';
import { type MountedOperatorRoute, operatorRoute } from '../operator-route.ts';
import type { Operators } from '../operators.ts';
import type { RouteContext } from '../route.ts';

export interface TrustContext extends RouteContext {
  readonly rotation: Rotation;
  readonly mesh: Pick<MeshState, 'roots'>;
  readonly live: LiveIndex;
  readonly operators: Operators;
}

export const RotateOrder = z.strictObject({
  /** Drop every key that there is, at once. */
  revoke: z.literal(true).optional(),
  reason: z.string().max(200).refine(isPlainText).optional(),
});

/** `GET /admin/trust` and `POST /admin/trust/rotate`. */
export function trustRoutes(context: TrustContext): readonly MountedOperatorRoute[] {
  const { rotation, operators } = context;
  return [
    // A read that is allowed leaves no row, as everywhere.
    operatorRoute(
      operators,
      { does: 'trust.show', method: 'GET', path: '/admin/trust', action: 'operator.list' },
      async ({ event }) => granted(event, { signing_keys: rotation.status(), roots: rootsInUse(context) }),
    ),
    operatorRoute(
      operators,
      {
        does: {
          among: ['rotation.rotate', 'rotation.revoke'],
          of: ({ body }) => (body.revoke ? 'rotation.revoke' : 'rotation.rotate'),
        },
        ...{ method: 'POST', path: '/admin/trust/rotate', action: 'operator.rotate' },
        schema: RotateOrder,
        auditMembers: ({ revoke }) => (revoke ? { detail: { revoke } } : {}),
      },
      async ({ event, body: { revoke } }) => {
        const done = revoke ? await rotation.revoke(event) : await rotation.rotate(event);
        return done.granted ? granted(done.event, { ...done.value, signing_keys: rotation.status() }) : done;
      },
    ),
  ];
}

/** A root may go when no certificate in use ends in it: what the CA of the mesh cannot know of workspaces, the broker does. */
function rootsInUse({ mesh, live, clock }: TrustContext) {
  const now = seconds(clock);
  const using = new Map<string, number>();
  for (const { signedUnder, lastNotAfter } of live.all())
    for (const [spiffeId, until] of lastNotAfter) {
      if (until <= now) continue;
      const root = signedUnder.get(spiffeId) ?? UNKNOWN;
      using.set(root, (using.get(root) ?? 0) + 1);
    }
  const trusted = mesh.roots().map((pem) => {
    const certificate = new X509Certificate(pem);
    const sha256 = fingerprint(certificate);
    const certificates = using.get(sha256) ?? 0;
    using.delete(sha256);
    return { sha256, subject: certificate.subject, not_after: certificate.validToDate.toISOString(), certificates };
  });
  // Signed before this process started, or under a root that is trusted no more: every renewal makes them fewer.
  const others = [...using.values()].reduce((sum, count) => sum + count, 0);
  return { trusted, other_certificates: others };
}

const UNKNOWN = '';
