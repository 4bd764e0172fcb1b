/** Teams and roles of an approver, asked of GitHub when the answer is given: what was known before may be over. */
import type { Approval } from '@meshpass/access';
import type { Attestation } from '@meshpass/identity';
import { z } from 'zod';
import { type GithubUser, parseGithub, pathPart, teamPath } from '../attest/github/api.ts';
import type { Losses } from '../attest/github/losses.ts';
import { organizationIdBy, type ReadGithub } from '../github/reader.ts';

const OrganizationMembership = z.object({
  state: z.string(),
  role: z.string().max(50),
  user: z.object({ id: z.int() }),
});
const TeamMembership = z.object({ state: z.string() });

/**
 * @param read absent: GitHub cannot be asked, so that nobody is in any team
 * @returns the attestation with those teams and roles that `by` names and GitHub confirms now
 * @throws MeshpassError `issuer_unavailable`, `issuer_rate_limited`
 */
export async function withFreshMemberships(
  attestation: Attestation,
  { by }: Pick<Approval, 'by'>,
  read: ReadGithub | undefined,
  losses: Losses,
): Promise<Attestation> {
  const { organizationRoles: _, notInTeams: __, ...rest } = attestation;
  const { githubUser: user } = attestation;
  const teams = unique(by.flatMap(({ team, teamId }) => teamName(team, teamId) ?? []));
  const roles = unique(by.flatMap(({ role }) => role ?? []));
  if (!user || !read || teams.length + roles.length === 0) return { ...rest, teams: [] };
  const members = new Map<string, string | undefined>();
  for (const organization of unique([...teams, ...roles].map((name) => name.split('/')[0]!)))
    members.set(organization, await roleOf(read, organization, user));
  const inTeams: string[] = [];
  for (const team of teams) {
    if (members.get(team.split('/')[0]!) === undefined) continue;
    if (!losses.isUnsettled({ kind: 'team', team, user }) && (await isInTeam(read, team, user))) inTeams.push(team);
  }
  const held = roles.filter((role) => {
    const [organization, wanted] = role.split('/');
    const has = members.get(organization!);
    const holds = has === wanted || (wanted === 'member' && has === 'admin');
    return holds && !losses.isUnsettled({ kind: 'role', role, user });
  });
  return { ...rest, teams: inTeams, ...(held.length > 0 && { organizationRoles: held }) };
}

/** By the account's id: a login may be another's by now. */
async function roleOf(read: ReadGithub, organization: string, user: GithubUser): Promise<string | undefined> {
  const [org, login] = [pathPart(organization), pathPart(user.login)];
  if (!org || !login) return undefined;
  const answer = await read(organization, `/orgs/${org}/memberships/${login}`);
  const found = answer && parseGithub(OrganizationMembership, answer);
  return found?.state === 'active' && found.user.id === user.id ? found.role : undefined;
}

async function isInTeam(read: ReadGithub, team: string, user: GithubUser): Promise<boolean> {
  const [path, login] = [await teamPath(team, organizationIdBy(read)), pathPart(user.login)];
  if (path === undefined || login === undefined) return false;
  const answer = await read(team.split('/')[0]!, `${path}/memberships/${login}`);
  return answer !== undefined && parseGithub(TeamMembership, answer).state === 'active';
}

/** As attestations name it. */
function teamName(team: string | undefined, teamId: number | undefined): string | undefined {
  return team === undefined || teamId === undefined ? team : `${team.split('/')[0]}/#${teamId}`;
}

function unique(names: readonly string[]): readonly string[] {
  return [...new Set(names.map((name) => name.toLowerCase()))];
}
