/**
 * Access is decided again when the access file changes, or what GitHub says of its holder, and a grant ends at its own
 * limit. A live session can only lose by it: what a new access file adds, the workspace's next session has.
 */
import type { Authorize } from '@meshpass/access';
import type { Losses } from '../attest/github/losses.ts';
import { auditRow, type Draft, draftEvent } from '../audit/log/event.ts';
import { seconds, timestamp } from '../clock/clock.ts';
import type { MeshState } from '../reconcile/contract.ts';
import type { CloseCause } from '../store/close-causes.ts';
import { type CloseContext, closeSession, revokedPrincipals, untilStored } from './close.ts';
import { undeniedDetail } from './deny-ended.ts';
import type { Live } from './live.ts';
import type { HeldGrant } from './session.ts';
import { trustLost } from './trust.ts';

export interface RecheckContext extends CloseContext {
  readonly authorize: Authorize;
  readonly mesh: MeshState;
  readonly losses: Losses;
}

/**
 * Decides a live session's access again from its attestation.
 * @param cause of its end, where it loses all: `access_removed` unless the attestation is what has changed
 */
export async function recheckSession(
  context: RecheckContext,
  live: Live,
  cause: CloseCause = 'access_removed',
): Promise<void> {
  if (live.ended) return;
  const access = context.mesh.access();
  const untrusted = trustLost(live.session.attestation, access.trust);
  if (untrusted !== undefined)
    return await closeSession(context, live, { cause: 'issuer_removed', detail: { reason: untrusted } });
  const decision = context.authorize(live.session.attestation, access, seconds(context.clock));
  const held = new Map(decision.grants.map(({ grant, until }) => [grant.name, { limit: grant.session, until }]));
  const keep = (grant: HeldGrant): HeldGrant | undefined => {
    const found = held.get(grant.name);
    if (!found) return undefined;
    const { limit, until: closes = Number.POSITIVE_INFINITY } = found;
    return { ...grant, until: Math.min(grant.until, closes, live.session.openedAt + limit) };
  };
  await keepGrants(context, live, keep, { cause, reason: decision.refusals.join('; ') });
}

/** Takes away the grants whose own limit has passed. */
export async function endPassedGrants(context: RecheckContext, live: Live): Promise<void> {
  const now = seconds(context.clock);
  const keep = (grant: HeldGrant) => (grant.until > now ? grant : undefined);
  await keepGrants(context, live, keep, { cause: 'expired', reason: 'The time limit of the grant has passed.' });
}

async function keepGrants(
  context: RecheckContext,
  live: Live,
  keep: (grant: HeldGrant) => HeldGrant | undefined,
  why: { readonly cause: CloseCause; readonly reason: string },
): Promise<void> {
  const { session } = live;
  if (live.ended) return;
  const grants = session.grants.flatMap((grant) => keep(grant) ?? []);
  const kept = new Set(grants.map((grant) => grant.name));
  const lost = session.grants.filter((grant) => !kept.has(grant.name)).map((grant) => grant.name);
  const shorter = grants.filter(({ name, until }) =>
    session.grants.some((had) => had.name === name && had.until > until),
  );
  if (lost.length === 0 && shorter.length === 0) return;
  if (grants.length === 0)
    return await closeSession(context, live, { cause: why.cause, detail: { lost, reason: why.reason } });

  const revoked = revokedPrincipals(live, context.denies(why.cause), (grant) => !kept.has(grant));
  const expiresAt = Math.max(...grants.map((grant) => grant.until));
  const principals = session.principals.filter((principal) => kept.has(principal.grant));
  live.session = { ...session, grants, principals, expiresAt };
  // Its identity token names the grants.
  delete live.identityToken;
  context.feed.admit(live.session);
  context.revocations.add(revoked);

  const at = timestamp(seconds(context.clock));
  const draft: Draft = {
    ...draftEvent('session.narrow', {}, context.clock, context.random),
    sessionId: session.id,
    subject: session.attestation.subject,
    login: session.attestation.login,
    issuer: session.attestation.issuer,
    workspace: session.attestation.workspace.key,
    grant: [...lost, ...shorter.map((grant) => grant.name)].join(','),
    detail: { cause: why.cause, lost, shorter, ...undeniedDetail(revoked) },
  };
  const reason = lost.length > 0 ? why.reason : 'The access file gives the grant less time.';
  await untilStored(context, {
    narrowed: { id: session.id, grants: JSON.stringify(grants), expires_at: timestamp(expiresAt) },
    revoked: lost.map((grant_name) => {
      return { session_id: session.id, grant_name, revoked_at: at, revoke_cause: why.cause };
    }),
    audit: [auditRow(draft, 'ended', reason, undefined, context.clock())],
  });
}
