/** Queries GitHub for a user's teams and roles. */

import { type Access, rolesMentioned, teamsDenied, teamsMentioned } from '@meshpass/access';
import { type Attestation, memoize } from '@meshpass/identity';
import { z } from 'zod';
import type { ReadGithub } from './api.ts';
import { encodePathSegment, type GithubUser, parseGithubResponse, teamPath } from './api.ts';

/** The memberships to query GitHub for. */
export interface MembershipQuery {
  /** Teams, as `ORG/SLUG` in lower case or as `ORG/#ID`. */
  readonly teams: readonly string[];
  /** Roles, as `ORG/admin` or `ORG/member` in lower case. */
  readonly roles: readonly string[];
  /** The teams in the access file's deny list. */
  readonly denied: readonly string[];
}

export type Memberships = Pick<Attestation, 'teams' | 'notInTeams' | 'organizationRoles'>;

const Organization = z.object({ id: z.int().positive() });
const OrganizationMembership = z.object({
  state: z.string(),
  role: z.string().max(50),
  user: z.object({ id: z.int() }),
});
const TeamMembership = z.object({ state: z.string() });
const Account = z.object({ id: z.int(), login: z.string().min(1).max(100) });

/** Collects the teams and roles that an access file refers to. */
export function membershipQuery(access: Access): MembershipQuery {
  return { teams: teamsMentioned(access), roles: rolesMentioned(access), denied: teamsDenied(access) };
}

/**
 * Creates functions that query memberships without caching. All of them can throw a MeshpassError (`issuer_unavailable`
 * or `issuer_rate_limited`).
 * @param organizationId returns an organization's ID, or undefined if the organization cannot be read. By default, the
 *   ID of each organization is queried once and then remembered.
 */
export function createMembershipQueries(
  read: ReadGithub,
  organizationId = memoize(async (organization: string): Promise<number | undefined> => {
    const part = encodePathSegment(organization);
    const answer = part && (await read(organization, `/orgs/${part}`));
    return answer ? parseGithubResponse(Organization, answer).id : undefined;
  }, new Map()),
) {
  const pathOf = (team: string) => teamPath(team, organizationId);
  const membership = async (organization: string, { login }: GithubUser) => {
    const parts = [encodePathSegment(organization), encodePathSegment(login)];
    if (parts.includes(undefined)) return undefined;
    const answer = await read(organization, `/orgs/${parts[0]}/memberships/${parts[1]}`);
    return answer && parseGithubResponse(OrganizationMembership, answer);
  };
  return {
    /**
     * Returns the path of a team's endpoint in GitHub's API, or undefined if the slug is invalid or the organization is
     * unknown.
     */
    teamPath: pathOf,
    /**
     * Returns the membership of the account that currently has this login, or undefined if GitHub does not show one.
     */
    membership,
    /**
     * Returns the user's role (`admin`, `member` or another GitHub role), or undefined if they have no active
     * membership.
     */
    roleIn: async (organization: string, user: GithubUser) => {
      const found = await membership(organization, user);
      return found?.state === 'active' && found.user.id === user.id ? found.role : undefined;
    },
    /**
     * Whether the user with this login is an active member of the team. Undefined if GitHub cannot be queried for it.
     */
    isInTeam: async (team: string, { login }: GithubUser) => {
      const [path, part] = [await pathOf(team), encodePathSegment(login)];
      if (path === undefined || part === undefined) return undefined;
      const answer = await read(organizationOf(team), `${path}/memberships/${part}`);
      return answer !== undefined && parseGithubResponse(TeamMembership, answer).state === 'active';
    },
    /** Whether the team exists and is visible to the caller. */
    hasTeam: async (team: string) => {
      const path = await pathOf(team);
      return path !== undefined && (await read(organizationOf(team), path)) !== undefined;
    },
    /** Whether the account with this ID still has this login. */
    hasLogin: async (organization: string, { id, login }: GithubUser) => {
      const answer = await read(organization, `/user/${id}`);
      const found = answer && parseGithubResponse(Account, answer);
      return found?.id === id && found.login.toLowerCase() === login.toLowerCase();
    },
  };
}

export type MembershipQueries = ReturnType<typeof createMembershipQueries>;

/**
 * Returns the memberships that GitHub currently confirms. An admin is also considered a member. A denied team is only
 * reported as one that the user is not in if GitHub shows that the team exists.
 * @param queries sends the queries. If undefined, no memberships are confirmed.
 * @throws MeshpassError `issuer_unavailable`, `issuer_rate_limited`
 */
export async function confirmMemberships(
  user: GithubUser,
  { teams, roles, denied }: MembershipQuery,
  queries: Pick<MembershipQueries, 'roleIn' | 'isInTeam' | 'hasTeam'> | undefined,
): Promise<Memberships> {
  if (!queries) return { teams: [] };
  const [inTeams, organizationRoles, notInTeams] = await Promise.all([
    filterAsync(teams, async (team) => (await queries.isInTeam(team, user)) === true),
    filterAsync(roles, async (role) => {
      const [organization, wanted] = role.split('/');
      const found = await queries.roleIn(organization!, user);
      // Billing managers are not members (GitHub, "Roles in an organization").
      return found === wanted || (wanted === 'member' && found === 'admin');
    }),
    filterAsync(denied, async (team) => !(await queries.isInTeam(team, user)) && (await queries.hasTeam(team))),
  ]);
  return {
    teams: inTeams,
    ...(organizationRoles.length > 0 && { organizationRoles }),
    ...(notInTeams.length > 0 && { notInTeams }),
  };
}

/** Returns the organization that a team or role belongs to. */
export function organizationOf(name: string): string {
  return name.split('/')[0]!;
}

/** Filters names with an asynchronous predicate, which is called for all names in parallel. */
export async function filterAsync(
  names: readonly string[],
  isWanted: (name: string) => Promise<boolean>,
): Promise<string[]> {
  const wanted = await Promise.all(names.map(isWanted));
  return names.filter((_, index) => wanted[index]);
}
