/**
 * Applies the consequences to a live session whose developer has left a team or an organization, according to GitHub.
 */

import { type Fact, withoutFacts } from '../../attest/index.ts';
import type { SessionContext } from '../session/context.ts';
import { closeSession, replaceAttestation } from '../session/lifecycle.ts';
import type { Live } from '../session/live.ts';
import { touch } from '../session/touch.ts';

/** Records the loss, and closes this session and the developer's other sessions that depend on the membership. */
export function onLeftOrganization(sessions: SessionContext, live: Live, organization: string): void {
  const { githubUser } = live.session.attestation;
  if (githubUser) sessions.losses.lose({ kind: 'member', organization, user: githubUser });
  const detail = { left: organization };
  closeSession(sessions, live, { cause: 'membership_lost', detail }).catch(sessions.onFailure);
  for (const one of sessions.live.all())
    if (githubUser && one.session.attestation.githubUser?.id === githubUser.id)
      touch(sessions, one).catch(sessions.onFailure);
}

/** Records the loss and removes the grants that depend on the team. Other grants stay. */
export function onLeftTeam(sessions: SessionContext, live: Live, team: string): void {
  const { githubUser } = live.session.attestation;
  if (githubUser) loseFacts(sessions, live, [{ kind: 'team', team, user: githubUser }]);
}

/**
 * Records lost roles and removes the grants that depend on them.
 * @param role developer's current role; undefined if there is none
 */
export function onRoleChanged(
  sessions: SessionContext,
  live: Live,
  organization: string,
  role: string | undefined,
): void {
  const { githubUser, organizationRoles = [] } = live.session.attestation;
  const lost = organizationRoles.filter(
    (one) =>
      one.startsWith(`${organization}/`) &&
      one !== `${organization}/${role}` &&
      !(role === 'admin' && one.endsWith('/member')),
  );
  if (!githubUser || lost.length === 0) return;
  loseFacts(
    sessions,
    live,
    lost.map((one) => ({ kind: 'role', role: one, user: githubUser })),
  );
}

function loseFacts(sessions: SessionContext, live: Live, facts: readonly Fact[]): void {
  for (const fact of facts) sessions.losses.lose(fact);
  // If the store is unavailable, the write is retried; the next session does not wait for it.
  // Removed directly, because if the clock was set back, the loss may be dated before the opening.
  replaceAttestation(live, withoutFacts(live.session.attestation, facts));
  touch(sessions, live, 'membership_lost').catch(sessions.onFailure);
}

/**
 * Whether a session ends when its developer leaves the trusted organization.
 * @param wasMember whether a member list of the organization contained this user
 */
export function dependsOnMembership(live: Live, organization: string, wasMember: (id: number) => boolean): boolean {
  const { githubUser } = live.session.attestation;
  if (!githubUser || !isCodespaceSession(live)) return false;
  // If another account pays, the Codespace is trusted only because its developer is a member.
  const payer = String(live.session.attestation.claims.billable_owner).toLowerCase();
  return wasMember(githubUser.id) || payer !== organization;
}

/** Whether a live session belongs to a Codespace. */
export function isCodespaceSession({ session }: Live): boolean {
  return session.attestation.attestor === 'github-codespace';
}
