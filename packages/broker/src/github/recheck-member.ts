/**
 * One developer, asked about by themselves: whether GitHub still has them in what a session of theirs stands on. "Not found" may
 * also mean a login that is another's now, or that members may not be read at all. So it counts only where GitHub shows the same
 * account in the organization, or says that the account still has this login and that the organization has members.
 */
import { z } from 'zod';
import { parseGithub, pathPart, teamPath } from '../attest/github/api.ts';
import type { Live } from '../session/live.ts';
import type { RecheckContext } from '../session/recheck.ts';
import { dependsOnMembership, onLeftOrganization, onLeftTeam, onRoleChanged } from './membership.ts';
import { organizationIdBy, type ReadGithub } from './reader.ts';

const Account = z.object({ id: z.int().positive(), login: z.string().min(1).max(100) });
const OrganizationMembership = z.object({ state: z.string(), role: z.string(), user: Account });
const TeamMembership = z.object({ state: z.string() });
const SomeMembers = z.array(z.object({ id: z.int().positive() }));

export interface RecheckMemberOptions {
  readonly read: ReadGithub;
  readonly sessions: RecheckContext;
  /** That the access file trusts, lower case. */
  readonly trusted: string | undefined;
  /** Whether a list of the organization that is trusted had them. */
  readonly wasMember: (id: number) => boolean;
}

/**
 * @param organization lower case; what the session stands on elsewhere is not asked about
 * @returns whether the session lost something by it
 * @throws MeshpassError `issuer_unavailable`, `issuer_rate_limited`
 */
export async function recheckMember(options: RecheckMemberOptions, live: Live, organization: string): Promise<boolean> {
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
  // The login is somebody else's now: the sweep knows who is who.
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
