/**
 * Access is decided again when the access file changes, and a grant ends at its own limit. A live session can only lose by
 * it: what a new access file adds, the workspace's next session has.
 */
import type { Authorize } from '@meshpass/policy';
import { auditRow, type Draft, draftEvent } from '../audit/event.ts';
import { seconds, timestamp } from '../instant.ts';
import type { MeshState } from '../mesh/contract.ts';
import { type CloseContext, closeSession, revokedPrincipals, untilStored } from './close.ts';
import type { Live } from './live.ts';

export interface RecheckContext extends CloseContext {
  readonly authorize: Authorize;
  readonly mesh: MeshState;
}

/** Decides a live session's access again from its attestation. */
export async function recheckSession(context: RecheckContext, live: Live): Promise<void> {
  if (live.ended) return;
  const decision = context.authorize(live.session.attestation, context.mesh.access());
  const granted = new Set(decision.grants.map(({ grant }) => grant.name));
  await keepGrants(context, live, (grant) => granted.has(grant), decision.refusals.join('; '));
}

/** Takes away the grants whose own limit has passed. */
export async function endPassedGrants(context: RecheckContext, live: Live): Promise<void> {
  const now = seconds(context.clock);
  const held = new Set(live.session.grants.filter((grant) => grant.until > now).map((grant) => grant.name));
  await keepGrants(context, live, (grant) => held.has(grant), 'The time limit of the grant has passed.');
}

async function keepGrants(
  context: RecheckContext,
  live: Live,
  keep: (grant: string) => boolean,
  reason: string,
): Promise<void> {
  const { session } = live;
  const lost = session.grants.filter((grant) => !keep(grant.name)).map((grant) => grant.name);
  if (lost.length === 0 || live.ended) return;
  if (lost.length === session.grants.length)
    return await closeSession(context, live, { cause: 'access_removed', detail: { lost, reason } });

  const revoked = revokedPrincipals(live, (grant) => lost.includes(grant));
  const grants = session.grants.filter((grant) => keep(grant.name));
  const expiresAt = Math.max(...grants.map((grant) => grant.until));
  const principals = session.principals.filter((principal) => keep(principal.grant));
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
    grant: lost.join(','),
  };
  await untilStored(context, {
    narrowed: { id: session.id, grants: JSON.stringify(grants), expires_at: timestamp(expiresAt) },
    revoked: lost.map((grant_name) => ({ session_id: session.id, grant_name, revoked_at: at })),
    audit: [auditRow(draft, 'ended', reason, undefined, context.clock())],
  });
}
