/**
 * Queries a single developer: whether GitHub still lists the memberships that a session depends on. "Not found" may
 * also mean that the login now belongs to another user, or that members may not be read. So it counts only if GitHub
 * shows the same account in the organization, or confirms that the account still has this login and that the
 * organization has members.
 */
import { z } from 'zod';
import { parseGithub, pathPart, teamPath } from '../github/api.ts';
import { dependsOnMembership, onLeftOrganization, onLeftTeam, onRoleChanged } from './membership.ts';
import { organizationIdBy, type ReadGithub } from './reader.ts';
import type { WatchedSession, WatchedSessions } from './watched-sessions.ts';

const Account = z.object({ id: z.int().positive(), login: z.string().min(1).max(100) });
const OrganizationMembership = z.object({ state: z.string(), role: z.string(), user: Account });
const TeamMembership = z.object({ state: z.string() });
const SomeMembers = z.array(z.object({ id: z.int().positive() }));

export interface RecheckMemberOptions {
  readonly read: ReadGithub;
  readonly sessions: WatchedSessions;
  /** Organization that the access file trusts, lower case. */
  readonly trusted: string | undefined;
  /** Whether a member list of the trusted organization contained this user. */
  readonly wasMember: (id: number) => boolean;
}

/**
 * Rechecks a developer's memberships in one organization.
 * @param organization lower case; memberships elsewhere are not queried
 * @returns whether the session lost anything
 * @throws MeshpassError `issuer_unavailable`, `issuer_rate_limited`
 */
export async function recheckMember(
  options: RecheckMemberOptions,
  live: WatchedSession,
  organization: string,
): Promise<boolean> {
  const { read, sessions, trusted } = options;
  const { session: before } = live;
  const { githubUser, teams } = before.attestation;
  const [org, login] = [pathPart(organization), pathPart(githubUser?.login ?? '')];
  if (!githubUser || !org || !login) return false;
  const within = (one: string) => one.startsWith(`${organization}/`);
  const [member, ...inTeams] = await Promise.all([
    read(organization, `/orgs/${org}/memberships/${login}`),
    ...teams.filter(within).map(async (team) => {
      const path = await teamPath(team, organizationIdBy(read));
      if (path === undefined) return { team, isIn: true };
      const answer = await read(organization, `${path}/memberships/${login}`);
      return { team, isIn: answer !== undefined && parseGithub(TeamMembership, answer).state === 'active' };
    }),
  ]);
  const found = member && parseGithub(OrganizationMembership, member);
  // The login now belongs to another user; the sweep compares ids.
  if (found ? found.user.id !== githubUser.id : !(await isTrulyAbsent())) return false;

  const role = found?.state === 'active' ? found.role : undefined;
  const ends = organization === trusted && dependsOnMembership(live, organization, options.wasMember);
  if (found?.state !== 'active' && ends) onLeftOrganization(sessions, live, organization);
  if (!live.ended) onRoleChanged(sessions, live, organization, role);
  for (const { team, isIn } of inTeams) if (!isIn && !live.ended) onLeftTeam(sessions, live, team);
  return live.ended !== undefined || live.session !== before;

  async function isTrulyAbsent(): Promise<boolean> {
    const [account, members] = await Promise.all([
      read(organization, `/user/${githubUser!.id}`),
      read(organization, `/orgs/${org}/members?per_page=1`),
    ]);
    if (!account || !members || parseGithub(SomeMembers, members).length === 0) return false;
    return parseGithub(Account, account).login.toLowerCase() === githubUser!.login.toLowerCase();
  }
}
