/**
 * Queries a single developer: whether GitHub still lists the memberships that a session depends on. "Not found" may
 * also mean that the login now belongs to another user, or that members may not be read. So it counts only if GitHub
 * shows the same account in the organization, or confirms that the account still has this login and that the
 * organization has members.
 */
import { z } from 'zod';
import type { ReadGithub } from '../github/api.ts';
import { type GithubUser, parseGithub, pathPart } from '../github/api.ts';
import { membershipQueries, organizationOf } from '../github/memberships.ts';
import { dependsOnMembership, onLeftOrganization, onLeftTeam, onRoleChanged } from './membership.ts';
import type { WatchedSession, WatchedSessions } from './watched-sessions.ts';

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
  const { githubUser: user, teams } = before.attestation;
  const org = pathPart(organization);
  if (!user || !org || !pathPart(user.login)) return false;
  const queries = membershipQueries(read);
  const [found, ...inTeams] = await Promise.all([
    queries.membership(organization, user),
    ...teams
      .filter((team) => organizationOf(team) === organization)
      .map(async (team) => ({ team, isIn: await queries.isInTeam(team, user) })),
  ]);
  // The login now belongs to another user; the sweep compares ids.
  if (found ? found.user.id !== user.id : !(await isTrulyAbsent(user))) return false;

  const role = found?.state === 'active' ? found.role : undefined;
  const ends = organization === trusted && dependsOnMembership(live, organization, options.wasMember);
  if (role === undefined && ends) onLeftOrganization(sessions, live, organization);
  if (!live.ended) onRoleChanged(sessions, live, organization, role);
  for (const { team, isIn } of inTeams) if (isIn === false && !live.ended) onLeftTeam(sessions, live, team);
  return live.ended !== undefined || live.session !== before;

  async function isTrulyAbsent(account: GithubUser): Promise<boolean> {
    const [hasLogin, members] = await Promise.all([
      queries.hasLogin(organization, account),
      read(organization, `/orgs/${org}/members?per_page=1`),
    ]);
    return hasLogin && members !== undefined && parseGithub(SomeMembers, members).length > 0;
  }
}
