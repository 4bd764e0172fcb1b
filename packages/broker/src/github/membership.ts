/** What follows for a live session when GitHub says that its developer is in a team or an organization no more. */
import { closeSession, replaceAttestation } from '../session/lifecycle.ts';
import type { Live } from '../session/live.ts';
import { type RecheckContext, recheckSession } from '../session/recheck.ts';

export function onLeftOrganization(sessions: RecheckContext, live: Live, organization: string): void {
  const { githubUser } = live.session.attestation;
  if (githubUser) sessions.losses.lose({ kind: 'member', organization, user: githubUser });
  const detail = { left: organization };
  void closeSession(sessions, live, { cause: 'membership_lost', detail }).catch(sessions.onFailure);
}

/** What it was granted by the team ends; what it has by other entries stays. */
export function onLeftTeam(sessions: RecheckContext, live: Live, team: string): void {
  const { attestation } = live.session;
  if (attestation.githubUser) sessions.losses.lose({ kind: 'team', team, user: attestation.githubUser });
  const teams = attestation.teams.filter((one) => one !== team);
  replaceAttestation(live, { ...attestation, teams });
  // The store may be away: what it has to learn is retried, and the next session does not wait for it.
  recheckSession(sessions, live, 'membership_lost').catch(sessions.onFailure);
}

/** @param role that its developer has now; undefined: none */
export function onRoleChanged(
  sessions: RecheckContext,
  live: Live,
  organization: string,
  role: string | undefined,
): void {
  const { attestation } = live.session;
  const held = attestation.organizationRoles ?? [];
  const organizationRoles = held.filter(
    (one) =>
      !one.startsWith(`${organization}/`) ||
      one === `${organization}/${role}` ||
      (role === 'admin' && one.endsWith('/member')),
  );
  if (organizationRoles.length === held.length) return;
  const { githubUser } = attestation;
  for (const one of held)
    if (githubUser && !organizationRoles.includes(one))
      sessions.losses.lose({ kind: 'role', role: one, user: githubUser });
  replaceAttestation(live, { ...attestation, organizationRoles });
  recheckSession(sessions, live, 'membership_lost').catch(sessions.onFailure);
}

/**
 * Whether a session ends with its developer's membership in the organization that the access file trusts.
 * @param wasMember whether a list of the organization had this user
 */
export function dependsOnMembership(live: Live, organization: string, wasMember: (id: number) => boolean): boolean {
  const { githubUser } = live.session.attestation;
  if (!githubUser || !isCodespace(live)) return false;
  return wasMember(githubUser.id) || isPaidByOther(live, organization);
}

export function isCodespace({ session }: Live): boolean {
  return session.attestation.attestor === 'github-codespace';
}

/** Such a Codespace was trusted only because its developer is a member. */
function isPaidByOther({ session }: Live, organization: string): boolean {
  return String(session.attestation.claims.billable_owner).toLowerCase() !== organization;
}
