/**
 * Applies the consequences to a live session whose developer has left a team or an organization, according to GitHub.
 */
import type { Fact } from '../github/losses.ts';
import type { WatchedSession, WatchedSessions } from './watched-sessions.ts';

/** Records the loss, and closes this session and the developer's other sessions that depend on the membership. */
export function onLeftOrganization(sessions: WatchedSessions, live: WatchedSession, organization: string): void {
  const { githubUser } = live.session.attestation;
  if (githubUser) sessions.losses.lose({ kind: 'member', organization, user: githubUser });
  const detail = { left: organization };
  sessions.close(live, { cause: 'membership_lost', detail }).catch(sessions.onFailure);
  for (const one of sessions.live.all())
    if (githubUser && one.session.attestation.githubUser?.id === githubUser.id)
      sessions.touch(one).catch(sessions.onFailure);
}

/** Records the loss and removes the grants that depend on the team. Other grants stay. */
export function onLeftTeam(sessions: WatchedSessions, live: WatchedSession, team: string): void {
  const { githubUser } = live.session.attestation;
  if (githubUser) loseFacts(sessions, live, [{ kind: 'team', team, user: githubUser }]);
}

/**
 * Records lost roles and removes the grants that depend on them.
 * @param role developer's current role; undefined if there is none
 */
export function onRoleChanged(
  sessions: WatchedSessions,
  live: WatchedSession,
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

function loseFacts(sessions: WatchedSessions, live: WatchedSession, facts: readonly Fact[]): void {
  for (const fact of facts) sessions.losses.lose(fact);
  // If the store is unavailable, the write is retried; the next session does not wait for it.
  sessions.removeFacts(live, facts).catch(sessions.onFailure);
}

/**
 * Whether a session ends when its developer leaves the trusted organization.
 * @param wasMember whether a member list of the organization contained this user
 */
export function dependsOnMembership(
  live: WatchedSession,
  organization: string,
  wasMember: (id: number) => boolean,
): boolean {
  const { githubUser } = live.session.attestation;
  if (!githubUser || !isCodespace(live)) return false;
  // If another account pays, the Codespace is trusted only because its developer is a member.
  const payer = String(live.session.attestation.claims.billable_owner).toLowerCase();
  return wasMember(githubUser.id) || payer !== organization;
}

/** Whether a live session belongs to a Codespace. */
export function isCodespace({ session }: WatchedSession): boolean {
  return session.attestation.attestor === 'github-codespace';
}
