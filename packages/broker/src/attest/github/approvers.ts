/** Reads an approver's teams and roles from GitHub when the answer arrives, because earlier data may be stale. */
import type { Access, Approval } from '@meshpass/access';
import type { Attestation } from '@meshpass/identity';
import { z } from 'zod';
import { organizationIdBy, type ReadGithub } from '../watch/reader.ts';
import { type GithubUser, parseGithub, pathPart, teamPath } from './api.ts';
import type { Losses } from './losses.ts';

const OrganizationMembership = z.object({
  state: z.string(),
  role: z.string().max(50),
  user: z.object({ id: z.int() }),
});
const TeamMembership = z.object({ state: z.string() });
const Account = z.object({ id: z.int(), login: z.string().min(1).max(100) });

/** Memberships to read for an approver. */
export interface Asked {
  readonly teams: readonly string[];
  readonly roles: readonly string[];
  /** Teams that the access file denies. */
  readonly denied: readonly string[];
}

/**
 * Returns the teams and roles that decide whether a person may approve: `by` of the grant, and the file's deny list.
 */
export function askedOf(by: Approval['by'], deny: Access['deny'] = []): Asked {
  return {
    teams: unique(by.flatMap(({ team, teamId }) => teamName(team, teamId)?.toLowerCase() ?? [])),
    roles: unique(by.flatMap(({ role }) => role?.toLowerCase() ?? [])),
    denied: unique(deny.flatMap(({ team, teamId }) => teamName(team, teamId) ?? [])),
  };
}

/**
 * Replaces an attestation's teams and roles with those that GitHub confirms now, and adds the denied teams that the
 * account is known not to be in.
 * @param read absent if GitHub cannot be queried; the account then counts as in no team, and possibly in every denied
 *   one
 * @throws MeshpassError `issuer_unavailable`, `issuer_rate_limited`
 */
export async function withFreshMemberships(
  attestation: Attestation,
  { teams, roles, denied }: Asked,
  read: ReadGithub | undefined,
  losses: Losses,
): Promise<Attestation> {
  const { organizationRoles: _, notInTeams: __, ...rest } = attestation;
  const { githubUser: user } = attestation;
  if (!user || !read || teams.length + roles.length + denied.length === 0) return { ...rest, teams: [] };
  const members = new Map<string, string | undefined>();
  for (const organization of unique([...teams, ...roles, ...denied].map(organizationOf)))
    members.set(organization, await roleOf(read, organization, user));
  const inTeams: string[] = [];
  for (const team of teams) {
    if (members.get(organizationOf(team)) === undefined) continue;
    if (!losses.isUnsettled({ kind: 'team', team, user }) && (await isInTeam(read, team, user))) inTeams.push(team);
  }
  const notInTeams: string[] = [];
  for (const team of denied) {
    const isMember = members.get(organizationOf(team)) !== undefined;
    if (await isOutside(read, team, user, isMember)) notInTeams.push(team);
  }
  const held = roles.filter((role) => {
    const [organization, wanted] = role.split('/');
    const has = members.get(organization!);
    const holds = has === wanted || (wanted === 'member' && has === 'admin');
    return holds && !losses.isUnsettled({ kind: 'role', role, user });
  });
  return {
    ...rest,
    teams: inTeams,
    ...(held.length > 0 && { organizationRoles: held }),
    ...(notInTeams.length > 0 && { notInTeams }),
  };
}

/**
 * Whether GitHub shows the team and reports that this account is not in it. False if the login now belongs to another
 * account.
 */
async function isOutside(read: ReadGithub, team: string, user: GithubUser, isMember: boolean): Promise<boolean> {
  if (await isInTeam(read, team, user)) return false;
  const path = await teamPath(team, organizationIdBy(read));
  if (path === undefined || (await read(organizationOf(team), path)) === undefined) return false;
  return isMember || (await hasLogin(read, organizationOf(team), user));
}

async function hasLogin(read: ReadGithub, organization: string, { id, login }: GithubUser): Promise<boolean> {
  const answer = await read(organization, `/user/${id}`);
  const found = answer && parseGithub(Account, answer);
  return found?.id === id && found.login.toLowerCase() === login.toLowerCase();
}

/** Reads the role by the account's id, because the login may belong to another account by now. */
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
  const answer = await read(organizationOf(team), `${path}/memberships/${login}`);
  return answer !== undefined && parseGithub(TeamMembership, answer).state === 'active';
}

/** Returns the team's name in attestations. */
function teamName(team: string | undefined, teamId: number | undefined): string | undefined {
  return team === undefined || teamId === undefined ? team : `${team.split('/')[0]}/#${teamId}`;
}

function organizationOf(name: string): string {
  return name.split('/')[0]!;
}

function unique(names: readonly string[]): readonly string[] {
  return [...new Set(names)];
}
