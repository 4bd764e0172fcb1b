/** Updates or closes a live session after GitHub has confirmed that its developer left a team or an organization. */

import { type Fact, withoutFacts } from '../../attest/index.ts';
import type { SessionContext } from '../session/context.ts';
import { closeSession, replaceAttestation } from '../session/lifecycle.ts';
import type { Live } from '../session/live.ts';
import { touch } from '../session/touch.ts';

/** Records that the developer left the organization, closes the session, and updates the developer's other sessions. */
export function onLeftOrganization(sessions: SessionContext, live: Live, organization: string): void {
  const { githubUser } = live.session.attestation;
  if (githubUser) sessions.losses.lose({ kind: 'member', organization, user: githubUser });
  const detail = { left: organization };
  closeSession(sessions, live, { cause: 'membership_lost', detail }).catch(sessions.onFailure);
  for (const one of sessions.live.all())
    if (githubUser && one.session.attestation.githubUser?.id === githubUser.id)
      touch(sessions, one).catch(sessions.onFailure);
}

/**
 * Records that the developer left the team, and removes the grants that depend on it. The session ends if it has no
 * other grants.
 */
export function onLeftTeam(sessions: SessionContext, live: Live, team: string): void {
  const { githubUser } = live.session.attestation;
  if (githubUser) loseFacts(sessions, live, [{ kind: 'team', team, user: githubUser }]);
}

/**
 * Records roles that the developer has lost, and removes the grants that depend on them.
 * @param role the developer's current role, or undefined if they have none
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
  // If the store is unavailable, the write is retried in the background. The facts are also removed directly, because
  // if the clock was set back, the loss may be dated before the session.
  replaceAttestation(live, withoutFacts(live.session.attestation, facts));
  touch(sessions, live, 'membership_lost').catch(sessions.onFailure);
}

/**
 * Whether a session ends when its developer leaves the trusted organization.
 * @param wasMember returns whether a member list of the organization contained this user
 */
export function dependsOnMembership(live: Live, organization: string, wasMember: (id: number) => boolean): boolean {
  const { githubUser } = live.session.attestation;
  if (!githubUser || !isCodespaceSession(live)) return false;
  // If another account pays for the Codespace, the Codespace is trusted only because its developer is a member.
  const payer = String(live.session.attestation.claims.billable_owner).toLowerCase();
  return wasMember(githubUser.id) || payer !== organization;
}

/** Whether a live session belongs to a Codespace. */
export function isCodespaceSession({ session }: Live): boolean {
  return session.attestation.attestor === 'github-codespace';
}
